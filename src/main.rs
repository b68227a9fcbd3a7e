//! `haversack-server`: hands the arguments over to the native front end, with an allocator that counts.

use haversack::native::memory::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> std::process::ExitCode {
    haversack::native::run(std::env::args_os().skip(1).collect())
}
