//! `haversack-server`: hands the arguments over to the native front end, with an allocator that counts.

use haversack::native::memory::Counting;

#[cfg_attr(not(address_sanitizer), global_allocator)]
#[cfg_attr(address_sanitizer, expect(dead_code))]
static ALLOCATOR: Counting = Counting;

fn main() -> std::process::ExitCode {
    haversack::native::run(std::env::args_os().skip(1).collect())
}
