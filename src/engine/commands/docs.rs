//! The notation in which rows of the command table write their arguments, and its parser.
//!
//! It carries all that COMMAND DOCS says about arguments, in one line. It does not say how a handler
//! parses its arguments: handlers do that themselves. The counterpart in Redis are the `arguments` of
//! `src/commands/*.json`.
//!
//! ```text
//! list  = item *( " " item )
//! item  = name ":" type *mark [ "(" list ")" ]     children of oneof and block
//!       | TOKEN *mark                              a pure token, named like it in lower case
//! mark  = "=" TOKEN      the word in front of it       "~" text      shown instead of its name
//!       | "#" number     which of the key specs        "@" version   since
//!       | "!" version    deprecated since              "?" optional  "*" multiple  "+" token repeats
//! ```
//!
//! A name, token, text or version that holds other characters than `A-Z a-z 0-9 _ . : / -` stands in
//! single quotes. (A name ends at its colon, so a colon in a name needs quotes too.)

/// One argument of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its name. Of a pure token written without one: the token in lower case.
    pub name: String,
    /// What it is, in Redis' word: `key`, `string`, `integer`, `pure-token`, `oneof`, `block`, …
    pub kind: &'static str,
    /// The word in front of it.
    pub token: Option<String>,
    /// What syntax summaries show instead of its name.
    pub display: Option<String>,
    /// Which of the command's key specs it belongs to.
    pub key_spec: Option<u8>,
    /// First version that had it, if later than the command.
    pub since: Option<String>,
    /// Deprecated since this version.
    pub deprecated: Option<String>,
    /// May be missing.
    pub optional: bool,
    /// May be repeated.
    pub multiple: bool,
    /// Its token is repeated with it.
    pub multiple_token: bool,
    /// The alternatives of a `oneof`, the parts of a `block`.
    pub children: Vec<Arg>,
}

/// Where the notation is broken: an offset in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadNotation(pub usize);

const KINDS: [&str; 9] = ["key", "string", "integer", "double", "pattern", "unix-time", "pure-token", "oneof", "block"];

/// Deepest nesting that is read; the deepest row of Redis has 4.
const MAX_DEPTH: usize = 16;

impl Arg {
    /// Whether it groups other arguments (and so has no text of its own to show).
    pub fn is_group(&self) -> bool {
        matches!(self.kind, "oneof" | "block")
    }

    /// What syntax summaries show for it.
    pub fn display_text(&self) -> &str {
        self.display.as_deref().unwrap_or(&self.name)
    }

    /// Its flags as COMMAND DOCS names them, in order.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> + Clone {
        [(self.optional, "optional"), (self.multiple, "multiple"), (self.multiple_token, "multiple_token")]
            .into_iter()
            .filter_map(|(set, name)| set.then_some(name))
    }
}

/// Reads a list of arguments. The empty text is the empty list.
pub fn parse(text: &str) -> Result<Vec<Arg>, BadNotation> {
    let mut reader = Reader { text, at: 0 };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let args = reader.list(0)?;
    if reader.at == text.len() { Ok(args) } else { reader.bad() }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn bad<T>(&self) -> Result<T, BadNotation> {
        Err(BadNotation(self.at))
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Arg>, BadNotation> {
        if depth == MAX_DEPTH {
            return self.bad();
        }
        let mut args = vec![self.item(depth)?];
        while self.eat(b' ') {
            args.push(self.item(depth)?);
        }
        Ok(args)
    }

    fn item(&mut self, depth: usize) -> Result<Arg, BadNotation> {
        let name = self.word(false)?;
        let mut arg = if self.eat(b':') {
            let kind = self.word(false)?;
            let Some(kind) = KINDS.into_iter().find(|known| *known == kind) else { return self.bad() };
            blank(name.to_owned(), kind)
        } else if name.bytes().any(|b| b.is_ascii_lowercase()) {
            return self.bad(); // a name without a type
        } else {
            let mut arg = blank(name.to_ascii_lowercase(), "pure-token");
            arg.token = Some(name.to_owned());
            arg
        };
        self.marks(&mut arg)?;
        if arg.is_group() != self.eat(b'(') {
            return self.bad();
        }
        if arg.is_group() {
            arg.children = self.list(depth + 1)?;
            if !self.eat(b')') {
                return self.bad();
            }
        }
        Ok(arg)
    }

    fn marks(&mut self, arg: &mut Arg) -> Result<(), BadNotation> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b'=') => arg.token = Some(self.value()?),
                Some(b'~') => arg.display = Some(self.value()?),
                Some(b'@') => arg.since = Some(self.value()?),
                Some(b'!') => arg.deprecated = Some(self.value()?),
                Some(b'#') => match self.value()?.parse() {
                    Ok(index) => arg.key_spec = Some(index),
                    Err(_) => return self.bad(),
                },
                Some(b'?') => (arg.optional, self.at) = (true, self.at + 1),
                Some(b'*') => (arg.multiple, self.at) = (true, self.at + 1),
                Some(b'+') => (arg.multiple_token, self.at) = (true, self.at + 1),
                _ => return Ok(()),
            }
        }
    }

    /// The word behind a mark of one byte.
    fn value(&mut self) -> Result<String, BadNotation> {
        self.at += 1;
        Ok(self.word(true)?.to_owned())
    }

    /// A word, bare or in quotes. A bare name or type ends at a colon, a bare value does not.
    fn word(&mut self, colon: bool) -> Result<&'a str, BadNotation> {
        let quoted = self.eat(b'\'');
        let rest = &self.text[self.at..];
        let bare = |b: u8| b.is_ascii_alphanumeric() || b"_./-".contains(&b) || colon && b == b':';
        let end = rest.bytes().position(|b| if quoted { b == b'\'' } else { !bare(b) });
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        if quoted && !self.eat(b'\'') || !quoted && word.is_empty() { self.bad() } else { Ok(word) }
    }
}

fn blank(name: String, kind: &'static str) -> Arg {
    Arg {
        name,
        kind,
        token: None,
        display: None,
        key_spec: None,
        since: None,
        deprecated: None,
        optional: false,
        multiple: false,
        multiple_token: false,
        children: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_mark() {
        let text = "addr:string=ADDR~ip:port@6.2.0!7.0.0?*+ key#1";
        assert_eq!(parse(text), Err(BadNotation(43)));
        let args = parse("addr:string=ADDR~ip:port@6.2.0!7.0.0?*+ key:key#1 XX? auto-id:pure-token='*'").unwrap();
        let mut addr = blank("addr".into(), "string");
        addr.token = Some("ADDR".into());
        addr.display = Some("ip:port".into());
        addr.since = Some("6.2.0".into());
        addr.deprecated = Some("7.0.0".into());
        (addr.optional, addr.multiple, addr.multiple_token) = (true, true, true);
        assert_eq!(args[0], addr);
        assert_eq!((args[1].kind, args[1].key_spec), ("key", Some(1)));
        assert_eq!((args[2].name.as_str(), args[2].kind, args[2].token.as_deref()), ("xx", "pure-token", Some("XX")));
        assert!(args[2].optional);
        assert_eq!(args[3].token.as_deref(), Some("*"));
    }

    #[test]
    fn reads_nested_groups() {
        let args = parse("by:oneof?(NX XX b:block=BY*(from:integer to:integer@7.0.0))").unwrap();
        assert_eq!(args.len(), 1);
        assert_eq!(args[0].children.len(), 3);
        let block = &args[0].children[2];
        assert_eq!((block.kind, block.token.as_deref(), block.multiple), ("block", Some("BY"), true));
        assert_eq!(block.children[1].since.as_deref(), Some("7.0.0"));
        assert_eq!(args[0].flags().collect::<Vec<_>>(), ["optional"]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in [
            " ",
            "a",
            "a:",
            "a:word",
            "a:key ",
            " a:key",
            "a:key#",
            "a:key#x",
            "a:key#256",
            "a:oneof",
            "a:oneof()",
            "a:oneof(B",
            "a:key(B)",
            "a:key)",
            "a:key?x",
            "'a",
            "a:string='x",
            "A:",
            "a:block(b:key))",
            "é:key",
            "A é",
            "a:string='é",
            "a:string=é",
            "a:key\u{1F600}",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse(&"a:block(".repeat(100_000)).is_err());
    }

    #[test]
    fn reads_the_empty_list() {
        assert_eq!(parse(""), Ok(Vec::new()));
    }
}
