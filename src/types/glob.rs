//! Redis glob patterns: `*`, `?`, `[abc]`, `[^a-z]` and `\` before a byte taken literally.
//!
//! Bytes, not characters. Not POSIX: a class that does not end reaches to the end of the pattern, a
//! range may be reversed, and a star does not match an empty text (callers treat `*` itself as "all").
//!
//! Work is at most the product of both lengths: after a mismatch only the last star is tried again,
//! because what an earlier star could reach, the last one can too.
//!
//! Counterpart: `stringmatchlen` in Redis.

/// Stars that one pattern may make use of, as in Redis: one that needs more matches nothing.
const MOST_STARS: usize = 1000;

/// Whether `pattern` matches the whole of `text`; `nocase` ignores the case of ASCII letters.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // After the last star: the pattern behind it, and the text it has not taken yet.
    let mut star: Option<(usize, usize)> = None;
    let mut stars = 0;
    loop {
        if t == text.len() {
            return pattern[p..].iter().all(|byte| *byte == b'*');
        }
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            if p == pattern.len() {
                return true;
            }
            stars += usize::from(pattern[p] != b'*');
            if stars > MOST_STARS {
                return false;
            }
            star = Some((p, t));
            continue;
        }
        if let Some(next) = matches_one(pattern, p, text[t], nocase) {
            p = next;
            t += 1;
            continue;
        }
        match star {
            None => return false,
            Some((after, taken)) => {
                (p, t) = (after, taken + 1);
                star = Some((p, t));
            }
        }
    }
}

/// Whether the pattern element at `p` (no star) matches one byte; the position after it.
#[inline]
fn matches_one(pattern: &[u8], p: usize, byte: u8, nocase: bool) -> Option<usize> {
    let same = |a: u8| a == byte || (nocase && a.eq_ignore_ascii_case(&byte));
    match &pattern[p..] {
        [] => None,
        [b'?', ..] => Some(p + 1),
        [b'[', ..] => {
            let (found, end) = class(pattern, p + 1, byte, nocase);
            found.then_some(end)
        }
        [b'\\', literal, ..] => same(*literal).then_some(p + 2),
        [literal, ..] => same(*literal).then_some(p + 1),
    }
}

/// Whether the class whose content starts at `p` holds a byte; the position after its `]`.
fn class(pattern: &[u8], mut p: usize, byte: u8, nocase: bool) -> (bool, usize) {
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() } else { b };
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    loop {
        match &pattern[p..] {
            [] => break,
            [b'\\', literal, ..] => {
                // Redis compares an escaped byte with its case, always.
                found |= *literal == byte;
                p += 2;
            }
            [b']', ..] => {
                p += 1;
                break;
            }
            [start, b'-', end, ..] => {
                // Redis orders the ends, as signed bytes, before it folds their case.
                let (low, high) = if *start as i8 <= *end as i8 { (*start, *end) } else { (*end, *start) };
                found |= (fold(low) as i8..=fold(high) as i8).contains(&(fold(byte) as i8));
                p += 3;
            }
            [literal, ..] => {
                found |= fold(*literal) == fold(byte);
                p += 1;
            }
        }
    }
    (found != negated, p)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(matches(pattern.as_bytes(), text.as_bytes(), false), "{pattern} {text}");
        }
        for text in no {
            assert!(!matches(pattern.as_bytes(), text.as_bytes(), false), "{pattern} {text}");
        }
    }

    #[test]
    fn elements() {
        check("h?llo", &["hello", "hallo"], &["hllo", "heello"]);
        check("h*llo", &["hllo", "heeello", "hllollo"], &["hll", "ello"]);
        check("h[ae]llo", &["hello", "hallo"], &["hillo"]);
        check("h[^e]llo", &["hallo"], &["hello"]);
        check("h[a-b]llo", &["hallo", "hbllo"], &["hcllo", "h-llo"]);
        check("h[b-a]llo", &["hallo", "hbllo"], &["hcllo"]);
        check("a\\*b", &["a*b"], &["axb", "a\\*b"]);
        check("a\\", &["a\\"], &["a"]);
        check("[\\]a]", &["]", "a"], &["\\"]);
        check("[a\\-c]", &["a", "-", "c"], &["b"]);
        // The bracket is the end of the range.
        check("[a-]", &["a", "]", "^"], &["b", "-"]);
        check("", &[""], &["a"]);
        check("*", &["a", "ab"], &[""]);
        check("a***", &["a", "ab"], &["", "b"]);
        check("**a", &["a", "ba"], &["ab"]);
    }

    #[test]
    fn classes_without_an_end() {
        check("h[", &[], &["h", "h[", "ha"]);
        check("h[a", &["ha"], &["h[", "hb", "h[a"]);
        check("h[^", &["ha"], &["h"]);
        check("[]a", &[], &["]", "a", "]a"]);
        check("[a-", &["a", "-"], &["b"]);
        check("[a\\", &["a", "\\"], &["b"]);
    }

    #[test]
    fn case() {
        assert!(matches(b"hELlo*", b"HelLO", true));
        assert!(matches(b"[A-c]x", b"bX", true));
        assert!(matches(b"[AB]", b"b", true));
        assert!(!matches(b"[\\A]", b"a", true));
        assert!(!matches(b"hello", b"Hello", false));
    }

    #[test]
    fn hostile_patterns_end() {
        let text = vec![b'a'; 20_000];
        let mut pattern = b"a*".repeat(2_000);
        pattern.push(b'b');
        assert!(!matches(&pattern, &text, false));
        assert!(!matches(&b"*?*[a-b]".repeat(1_000), &text[..999], false));
        assert!(matches(&b"*?".repeat(1_000), &text[..1000], false));
    }

    /// The definition, by recursion.
    fn model(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|n| model(rest, &text[n..])),
            ([b'?', rest @ ..], [_, tail @ ..]) => model(rest, tail),
            ([b'\\', p, rest @ ..], [t, tail @ ..]) => p == t && model(rest, tail),
            ([p, rest @ ..], [t, tail @ ..]) => p == t && model(rest, tail),
            _ => false,
        }
    }

    #[test]
    fn agrees_with_the_definition() {
        let mut state = 99u64;
        let mut next = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut hits = 0;
        for _ in 0..200_000 {
            let pattern: Vec<u8> = (0..next(9)).map(|_| b"ab**?\\"[next(6)]).collect();
            let text: Vec<u8> = (0..1 + next(8)).map(|_| b"ab\\"[next(3)]).collect();
            let expected = model(&pattern, &text);
            hits += usize::from(expected);
            assert_eq!(matches(&pattern, &text, false), expected, "{pattern:?} {text:?}");
        }
        assert!(hits > 10_000);
    }
}
