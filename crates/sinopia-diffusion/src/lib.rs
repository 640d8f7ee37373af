//! Schedulers, noise, guidance losses and generation methods.
