//! How a recovery sheet looks: text, QR codes for the terminal, a page to print. A code holds some lines of the text, as short as a
//! terminal of eighty columns needs it, and lines are numbered: in which order they are scanned does not matter.

use crate::exit::{Code, Fail};
use qrcode::render::{svg, unicode::Dense1x2};
use qrcode::{EcLevel, QrCode};
use seabed_engine::seal::sheet::spaced;
use zeroize::Zeroizing;

/// Lines in one code: with eight it is 65 modules wide.
const LINES_PER_CODE: usize = 8;

/// What stands above the lines. None of it may look like a numbered line.
pub fn head(repository: &str, day: &str) -> Vec<String> {
    vec![
        format!("SEABED RECOVERY SHEET of repository {repository}, made {day}"),
        String::new(),
        "Whoever has this sheet reads and writes the repository. Keep it where nobody else comes.".to_owned(),
        "On another machine type or scan the numbered lines into a file, then run".to_owned(),
        "    seabed key import FILE --repo PLACE".to_owned(),
        "Capital or small letters and blanks do not matter. There is no letter I, L, O or U; the last".to_owned(),
        "four letters of a line check it.".to_owned(),
    ]
}

/// The sheet as text.
pub fn text(head: &[String], lines: &[Zeroizing<String>]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(80 * (lines.len() + head.len() + 1)));
    head.iter().for_each(|line| {
        out.push_str(line);
        out.push('\n');
    });
    out.push('\n');
    for line in lines {
        out.push_str(&spaced(line));
        out.push('\n');
    }
    out
}

/// One QR code.
pub struct OneCode {
    /// Which it is.
    pub title: String,
    code: QrCode,
}

impl OneCode {
    /// For a terminal, where what is drawn is light on a dark ground.
    pub fn terminal(&self) -> String {
        self.code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build()
    }

    /// For a page.
    pub fn svg(&self) -> String {
        let text = self.code.render::<svg::Color>().module_dimensions(4, 4).build();
        text.find("<svg").and_then(|at| text.get(at..)).unwrap_or_default().to_owned()
    }
}

/// The codes of all lines.
pub fn codes(lines: &[Zeroizing<String>]) -> Result<Vec<OneCode>, Fail> {
    let parts: Vec<&[Zeroizing<String>]> = lines.chunks(LINES_PER_CODE).collect();
    let count = parts.len();
    let one = |(at, part): (usize, &[Zeroizing<String>])| {
        let words: Vec<&str> = part.iter().map(|line| line.as_str()).collect();
        let words = Zeroizing::new(words.join("/"));
        let code = QrCode::with_error_correction_level(words.as_bytes(), EcLevel::M)
            .map_err(|e| Fail::new(Code::Failed, format!("cannot make a QR code: {e}")).hint("leave --qr and --html out"))?;
        let (from, to) = (at * LINES_PER_CODE + 1, at * LINES_PER_CODE + part.len());
        Ok(OneCode { title: format!("Code {} of {count}, lines {from} to {to}", at + 1), code })
    };
    parts.into_iter().enumerate().map(one).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A page that needs nothing else.
pub fn html(head: &[String], lines: &[Zeroizing<String>]) -> Result<Zeroizing<String>, Fail> {
    let mut out = Zeroizing::new(String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Recovery sheet</title>\n<style>\
         body{font-family:sans-serif;color:#000;background:#fff;margin:1cm} pre{font-size:10pt;line-height:1.35} \
         figure{display:inline-block;margin:4mm;text-align:center;page-break-inside:avoid} svg{width:62mm;height:62mm}\
         </style></head><body>\n<pre>",
    ));
    out.push_str(&escaped(&text(head, lines)));
    out.push_str("</pre>\n");
    for code in codes(lines)? {
        out.push_str(&format!("<figure>{}<figcaption>{}</figcaption></figure>\n", code.svg(), escaped(&code.title)));
    }
    out.push_str("</body></html>\n");
    Ok(out)
}
