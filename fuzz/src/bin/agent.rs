//! Tries [`fuzz::agent`].

#![cfg_attr(fuzzing, no_main)]

fuzz::program!(agent);
