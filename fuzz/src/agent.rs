//! What an agent says to hkd, and hkd and the router to each other: root in a desktop may have replaced
//! the agent, and somebody may have taken over the router.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};
use wire::{
    agent::{Ask, Tell},
    attach::{FromHkd, FromRouter},
    frame::{self, Decoder},
};

/// Reads the bytes as lines of each conversation. What is understood is said again in the same way.
pub fn agent(bytes: &[u8]) {
    lines::<Tell>(bytes);
    lines::<Ask>(bytes);
    lines::<FromHkd>(bytes);
    lines::<FromRouter>(bytes);
}

fn lines<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let mut decoder = Decoder::default();
    for piece in bytes.chunks(4096) {
        decoder.push(piece);
        while let Ok(Some(message)) = decoder.next_message::<T>() {
            let mut again = Decoder::default();
            again.push(&frame::encode(&message));
            assert_eq!(again.next_message::<T>().ok().flatten(), Some(message));
        }
    }
}
