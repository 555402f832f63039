#![cfg_attr(fuzzing, no_main)]
//! Tries [`fuzz::head`].

fuzz::program!(head);
