//! Sorted sets of integers in one allocation.
