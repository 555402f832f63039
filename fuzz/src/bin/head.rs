//! Tries [`fuzz::head`].

#![cfg_attr(fuzzing, no_main)]

fuzz::program!(head);
