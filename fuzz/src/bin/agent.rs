#![cfg_attr(fuzzing, no_main)]
//! Tries [`fuzz::agent`].

fuzz::program!(agent);
