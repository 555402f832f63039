#![cfg_attr(fuzzing, no_main)]
//! Tries [`fuzz::settings`].

fuzz::program!(settings);
