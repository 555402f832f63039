//! Bodies of requests to the administrator's socket.

use serde::{Serialize, de::DeserializeOwned};
use wire::rest::{
    ChangedConfigs, EditHost, EditOsf, EditUser, EditVm, NewHost, NewOsf, NewSsl, NewUser, NewVm,
    Password,
};

/// Reads the bytes as each body there is. What is understood is written as what is understood alike.
pub fn rest(bytes: &[u8]) {
    body::<ChangedConfigs>(bytes);
    body::<EditHost>(bytes);
    body::<EditOsf>(bytes);
    body::<EditUser>(bytes);
    body::<EditVm>(bytes);
    body::<NewHost>(bytes);
    body::<NewOsf>(bytes);
    body::<NewSsl>(bytes);
    body::<NewUser>(bytes);
    body::<NewVm>(bytes);
    body::<Password>(bytes);
}

fn body<T: Serialize + DeserializeOwned + PartialEq>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_vec(&read).expect("a body can be written");
    let again: T = serde_json::from_slice(&written).expect("what is written can be read");
    assert!(again == read, "it is read as something else");
}
