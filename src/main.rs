//! `haversack-server`: reads the arguments and hands over to the native front end.

fn main() {
    haversack::native::run();
}
