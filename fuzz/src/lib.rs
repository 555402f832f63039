//! What foreign bytes meet, and what must hold for all of them.
//!
//! One function for each kind of bytes. `cargo xtask fuzz` builds them with a fuzzer (libFuzzer), which
//! makes up bytes that reach more and more of the code; what it kept lies in `fuzz/corpus`, and each test
//! run tries that again. Nothing here may panic, whatever the bytes are.

mod agent;
mod head;
mod image;
mod rest;
mod settings;
#[cfg(fuzzing)]
mod time;

pub use crate::{agent::agent, head::head, image::image, rest::rest, settings::settings};

#[cfg(fuzzing)]
pub use {crate::time::end_in_time, libfuzzer_sys};

/// The program for one of the functions: the fuzzer's, or one that tries the files it is given.
#[macro_export]
macro_rules! program {
    ($name:ident) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
            $crate::$name(bytes);
            $crate::end_in_time();
        });

        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            std::env::args_os().skip(1).try_for_each(|file| {
                $crate::$name(&std::fs::read(file)?);
                Ok(())
            })
        }
    };
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    type Function = fn(&[u8]);

    /// What the fuzzer kept is tried by each test run.
    #[test]
    fn what_was_found_before_is_well() {
        let functions: [(&str, Function); 5] = [
            ("agent", super::agent),
            ("head", super::head),
            ("image", super::image),
            ("rest", super::rest),
            ("settings", super::settings),
        ];
        for (name, function) in functions {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
            let files: Vec<_> =
                fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
            assert!(files.len() > 5, "{} files in {}", files.len(), folder.display());
            for file in files {
                function(&fs::read(file).unwrap());
            }
        }
    }
}
