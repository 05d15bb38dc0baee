//! Pure compute on slices: no I/O, no threads, no allocation, no errors.
