//! Which arguments of a command are secrets: MONITOR and the command logs show them as `(redacted)`.

use crate::resp::Args;

use super::config::Param;

/// What stands in for a secret.
pub const REDACTED: &[u8] = b"(redacted)";

/// The arguments of a command, by its full name, as others may see them.
pub fn shown<'a>(full_name: &'static str, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> {
    (0..args.len()).map(move |index| if is_secret(full_name, args, index) { REDACTED } else { args.at(index) })
}

fn is_secret(full_name: &str, args: Args, index: usize) -> bool {
    let is_auth = |at: usize| args.at(at).eq_ignore_ascii_case(b"auth");
    match full_name {
        "auth" => index > 0,
        // HELLO <version> AUTH <user> <password>
        "hello" => (index > 2 && is_auth(index - 1)) || (index > 3 && is_auth(index - 2)),
        "config|set" => {
            index % 2 == 1 && index > 2 && Param::find(args.at(index - 1)).is_some_and(|(_, p)| p.sensitive)
        }
        _ => false,
    }
}
