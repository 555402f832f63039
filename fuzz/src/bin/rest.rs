#![cfg_attr(fuzzing, no_main)]
//! Tries [`fuzz::rest`].

fuzz::program!(rest);
