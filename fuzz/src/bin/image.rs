#![cfg_attr(fuzzing, no_main)]
//! Tries [`fuzz::image`].

fuzz::program!(image);
