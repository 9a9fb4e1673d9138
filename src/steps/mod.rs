//! The deployment: every step, and what each needs.

pub mod outputs;
