//! The hashes of passwords.
//!
//! A hash is argon2id with the parameters the library recommends (19 MiB, two passes, one lane),
//! written as a PHC string that carries them, so that they can be raised later.

use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash};

/// A password that cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The library refused it.
    #[error("the password cannot be hashed: {0}")]
    Refused(password_hash::Error),
    /// The program is ending.
    #[error("the password was not hashed, because the program is ending")]
    Ending,
}

/// Hashes a password with a random salt, aside from the tasks that must not wait: it takes about
/// 25 ms. The result is a PHC string.
pub async fn hash(password: String) -> Result<String, HashError> {
    let salt = rand::random();
    tokio::task::spawn_blocking(move || hash_with_salt(&password, salt))
        .await
        .map_err(|_| HashError::Ending)?
}

/// Hashes a password with a salt that is used for nothing else. The result is a PHC string.
pub(crate) fn hash_with_salt(password: &str, salt: [u8; 16]) -> Result<String, HashError> {
    Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(HashError::Refused)
}

/// Whether a password is the one a hash was made from. An unusable hash is an error.
pub(crate) fn verify(password: &str, hash: &str) -> Result<bool, password_hash::Error> {
    match Argon2::default().verify_password(password.as_bytes(), hash) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_argon2id_with_a_salt_of_its_own() {
        let one = hash("correct horse".into()).await.unwrap();
        let two = hash("correct horse".into()).await.unwrap();
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, two);
        assert!(verify("correct horse", &one).unwrap());
        assert!(!verify("correct horsf", &one).unwrap());
        assert!(verify("x", "$argon2id$nonsense").is_err());
        assert!(verify("x", "").is_err());
    }

    #[test]
    fn the_salt_decides_the_hash() {
        let known = hash_with_salt("password", [7; 16]).unwrap();
        assert_eq!(known, hash_with_salt("password", [7; 16]).unwrap());
        assert_ne!(known, hash_with_salt("password", [8; 16]).unwrap());
    }
}
