//! Tries [`fuzz::settings`].

#![cfg_attr(fuzzing, no_main)]

fuzz::program!(settings);
