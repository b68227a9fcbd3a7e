//! 80-bit extended arithmetic for INCRBYFLOAT.
