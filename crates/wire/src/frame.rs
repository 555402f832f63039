//! Messages as lines: one JSON value and a line feed.
//!
//! The reader gives up on a line that is too long, so that a peer cannot make it hold more than
//! [`LINE_MAX`] bytes.

use serde::{Serialize, de::DeserializeOwned};

/// The longest line a reader holds, in bytes.
pub const LINE_MAX: usize = 64 * 1024;

/// A peer that does not speak as agreed.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A line beyond [`LINE_MAX`].
    #[error("the peer sent a line longer than {LINE_MAX} bytes")]
    TooLong,
    /// A line that is not the message expected.
    #[error("the peer sent a message that is not understood")]
    Malformed(#[source] serde_json::Error),
}

/// A message as its line, line feed included.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line =
        serde_json::to_vec(message).expect("messages have string keys and no failing parts");
    line.push(b'\n');
    line
}

/// Cuts what arrives into messages.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    searched: usize,
}

impl Decoder {
    /// Takes what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, if one has arrived. After an error the connection is of no more use.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let fresh = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(at) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return if self.searched > LINE_MAX { Err(FrameError::TooLong) } else { Ok(None) };
        };
        let end = self.searched + at;
        self.searched = 0;
        let rest = self.buffer.split_off(end + 1);
        let line = std::mem::replace(&mut self.buffer, rest);
        if line.len() > LINE_MAX {
            return Err(FrameError::TooLong);
        }
        serde_json::from_slice(&line).map(Some).map_err(FrameError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_survive_any_cutting(texts in proptest::collection::vec(".*", 0..8), cut in 1usize..7) {
            let bytes: Vec<u8> = texts.iter().flat_map(encode).collect();
            let mut decoder = Decoder::default();
            let mut got: Vec<String> = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                while let Some(text) = decoder.next_message().unwrap() {
                    got.push(text);
                }
            }
            prop_assert_eq!(got, texts);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes: Vec<u8>) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next_message::<serde_json::Value>() {}
        }
    }

    #[test]
    fn an_endless_line_is_given_up() {
        let mut decoder = Decoder::default();
        decoder.push(&vec![b'x'; LINE_MAX + 1]);
        assert!(matches!(decoder.next_message::<String>(), Err(FrameError::TooLong)));
    }
}
