//! Where in the text of a PostgreSQL dump one is: between statements, in a text, a function's body, a comment, or in data.
//! It must never take for the outside what stands inside: whoever writes into a database writes that.

/// Where in the text of a dump one is: lines are its unit, since headings stand on lines of their own.
#[derive(Default)]
pub struct Scan {
    inside: Inside,
    /// A statement has begun and not ended.
    in_statement: bool,
    /// Lines of data follow.
    pub copying: bool,
}

#[derive(Default)]
enum Inside {
    #[default]
    Nothing,
    /// A text; in some `\` escapes.
    Text(bool),
    Name,
    Dollar(Vec<u8>),
    Comment(u32),
}

impl Scan {
    /// Between statements.
    pub fn at_top(&self) -> bool {
        matches!(self.inside, Inside::Nothing) && !self.in_statement && !self.copying
    }

    /// Goes on behind a line.
    pub fn line(&mut self, line: &[u8]) {
        if self.copying {
            if line.trim_ascii_end() == b"\\." {
                self.copying = false;
            }
            return;
        }
        let at_top = self.at_top();
        self.text(line);
        if at_top && self.at_top() && line.starts_with(b"COPY ") && line.trim_ascii_end().ends_with(b" FROM stdin;") {
            self.copying = true;
        }
    }

    fn text(&mut self, line: &[u8]) {
        let mut at = 0;
        while at < line.len() {
            let (byte, rest) = (line[at], &line[at + 1..]);
            at += 1;
            match &mut self.inside {
                Inside::Nothing => match byte {
                    b'-' if rest.first() == Some(&b'-') => return,
                    b'/' if rest.first() == Some(&b'*') => {
                        self.inside = Inside::Comment(1);
                        at += 1;
                    }
                    b'\'' => {
                        let escapes = at >= 2
                            && matches!(line[at - 2], b'E' | b'e')
                            && (at < 3 || !(line[at - 3].is_ascii_alphanumeric() || line[at - 3] == b'_'));
                        self.inside = Inside::Text(escapes);
                        self.in_statement = true;
                    }
                    b'"' => {
                        self.inside = Inside::Name;
                        self.in_statement = true;
                    }
                    // A `$` inside a word is a part of it.
                    b'$' if at < 2 || !(line[at - 2].is_ascii_alphanumeric() || line[at - 2] == b'_' || line[at - 2] >= 0x80) => {
                        self.in_statement = true;
                        let end = rest.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80));
                        if let Some(end) = end.filter(|end| rest[*end] == b'$' && !rest[0].is_ascii_digit()) {
                            self.inside = Inside::Dollar(line[at - 1..at + end + 1].to_vec());
                            at += end + 1;
                        }
                    }
                    b';' => self.in_statement = false,
                    // A command of psql's is one line.
                    b'\\' if !self.in_statement => return,
                    byte if byte.is_ascii_whitespace() => {}
                    _ => self.in_statement = true,
                },
                Inside::Text(escapes) => match byte {
                    b'\\' if *escapes => at += 1,
                    b'\'' if rest.first() == Some(&b'\'') => at += 1,
                    b'\'' => self.inside = Inside::Nothing,
                    _ => {}
                },
                Inside::Name => {
                    if byte == b'"' {
                        self.inside = Inside::Nothing;
                    }
                }
                Inside::Dollar(tag) => {
                    if byte == b'$' && line[at - 1..].starts_with(tag) {
                        at += tag.len() - 1;
                        self.inside = Inside::Nothing;
                    }
                }
                Inside::Comment(depth) => match (byte, rest.first()) {
                    (b'/', Some(b'*')) => {
                        *depth += 1;
                        at += 1;
                    }
                    (b'*', Some(b'/')) => {
                        at += 1;
                        *depth -= 1;
                        if *depth == 0 {
                            self.inside = Inside::Nothing;
                        }
                    }
                    _ => {}
                },
            }
        }
    }
}
