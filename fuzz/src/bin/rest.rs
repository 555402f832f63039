//! Tries [`fuzz::rest`].

#![cfg_attr(fuzzing, no_main)]

fuzz::program!(rest);
