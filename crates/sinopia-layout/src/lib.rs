//! Layouts for grounded image generation: parse, repair, compose, draw.
