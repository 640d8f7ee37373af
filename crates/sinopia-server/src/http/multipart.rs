//! Forms with files, `multipart/form-data` (RFC 7578), read from a body that is there whole.

use axum::body::Bytes;

use super::problem::Problem;

/// Parts of a form at most. OpenAI's have some twenty fields.
const MAX_PARTS: usize = 100;
/// Bytes of the headers of a part at most.
const MAX_HEAD: usize = 8 * 1024;
/// Characters of a boundary at most (RFC 2046, section 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// A field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    /// Whether it says that it is a file.
    pub(super) is_file: bool,
    pub(super) bytes: Bytes,
}

/// The parts of a form, in their order.
pub(super) fn parse(media_type: &str, body: &Bytes) -> Result<Vec<Part>, Problem> {
    let Some(boundary) = boundary(media_type) else {
        return Err(Problem::unsupported(
            "a form is expected: send `Content-Type: multipart/form-data` with its boundary",
        ));
    };
    let broken = |what: &str| Problem::bad_request(format!("the form cannot be read: {what}"));
    // Every boundary but the first stands behind a line break, and that one may.
    let line = format!("\r\n--{boundary}").into_bytes();
    let mut at = match body.starts_with(&line[2..]) {
        true => line.len() - 2,
        false => find(body, 0, &line).ok_or_else(|| broken("its boundary is not in it"))? + line.len(),
    };
    let mut parts = Vec::new();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        if parts.len() == MAX_PARTS {
            return Err(broken(&format!("it has more than {MAX_PARTS} parts")));
        }
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if !rest[padding..].starts_with(b"\r\n") {
            return Err(broken("a boundary does not end its line"));
        }
        // A part without headers has an empty line right here, so the break before it is looked at again.
        let head = at + padding;
        let window = &body[..body.len().min(head + MAX_HEAD)];
        let end = find(window, head, b"\r\n\r\n").ok_or_else(|| broken("the head of a part does not end"))?;
        let start = end + 4;
        let next = find(body, start - 2, &line).ok_or_else(|| broken("it ends within a part"))?;
        let (name, is_file) = disposition(&body[head..end]).ok_or_else(|| broken("a part has no name"))?;
        parts.push(Part { name, is_file, bytes: body.slice(start..next.max(start)) });
        at = next + line.len();
    }
}

/// Where `wanted` stands in `bytes`, from `from` on. It begins with the only `\r` that it has before its end, or with two that are close: the time is linear.
fn find(bytes: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == b'\r')?;
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
}

/// The boundary of a form, if this is the media type of one.
fn boundary(media_type: &str) -> Option<String> {
    let (kind, params) = media_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = params_of(params).into_iter().find(|(name, _)| name == "boundary")?.1;
    let is_one = !boundary.is_empty()
        && boundary.len() <= MAX_BOUNDARY
        && boundary.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    is_one.then_some(boundary)
}

/// The name of a part, and whether it is a file, from its headers.
fn disposition(head: &[u8]) -> Option<(String, bool)> {
    let head = std::str::from_utf8(head).ok()?;
    let value = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let params = params_of(value.split_once(';')?.1);
    let of = |wanted: &str| params.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    let is_file = params.iter().any(|(name, _)| name == "filename" || name == "filename*");
    Some((of("name")?, is_file))
}

/// `name=value; name="quoted value"`, names in small letters.
fn params_of(text: &str) -> Vec<(String, String)> {
    let mut params = Vec::new();
    let mut rest = text;
    while let Some((name, value)) = rest.split_once('=') {
        let name = name.trim_matches([';', ' ', '\t']).to_ascii_lowercase();
        let (value, after) = match value.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (value, after) = value.split_once(';').unwrap_or((value, ""));
                (value.trim().to_owned(), after)
            }
        };
        params.push((name, value));
        rest = after;
    }
    params
}

/// A quoted text up to its closing quote, and what follows.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=XX";

    fn read(body: &str) -> Result<Vec<(String, bool, String)>, String> {
        let shown = |part: Part| (part.name, part.is_file, String::from_utf8_lossy(&part.bytes).into_owned());
        match parse(TYPE, &Bytes::copy_from_slice(body.as_bytes())) {
            Ok(parts) => Ok(parts.into_iter().map(shown).collect()),
            Err(problem) => Err(problem.into_reply().error.message),
        }
    }

    fn part(name: &str, is_file: bool, text: &str) -> (String, bool, String) {
        (name.to_owned(), is_file, text.to_owned())
    }

    #[test]
    fn fields_and_files_are_read_as_they_were_sent() {
        let body = "preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na hat\r\n\
            --XX  \r\ncontent-type: image/png\r\nCONTENT-DISPOSITION: form-data; name=image[]; filename=\"a \\\"b\\\".png\"\r\n\r\n\
            \r\n--X\r\n--\r\n\r\n--XX\r\nContent-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--XX--\r\nepilogue";
        let expected =
            [part("prompt", false, "a hat"), part("image[]", true, "\r\n--X\r\n--\r\n"), part("empty", false, "")];
        assert_eq!(read(body).unwrap(), expected);
        assert_eq!(read(body.strip_prefix("preamble\r\n").unwrap()).unwrap(), expected);
        assert_eq!(read("--XX--").unwrap(), []);
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for (body, why) in [
            ("", "boundary is not in it"),
            ("--YY\r\n", "boundary is not in it"),
            ("--XX", "does not end its line"),
            ("--XXY\r\n", "does not end its line"),
            ("--XX\r\nContent-Disposition: form-data; name=a\r\n", "head of a part"),
            ("--XX\r\nContent-Disposition: form-data; name=a\r\n\r\nb", "ends within a part"),
            ("--XX\r\nContent-Disposition: form-data\r\n\r\nb\r\n--XX--", "no name"),
            ("--XX\r\n\r\nb\r\n--XX--", "no name"),
        ] {
            let message = read(body).unwrap_err();
            assert!(message.contains(why), "{body:?}: {message}");
        }
        let many = "--XX\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n".repeat(MAX_PARTS + 1) + "--XX--";
        assert!(read(&many).unwrap_err().contains("more than 100 parts"));
        let long = format!("--XX\r\nContent-Disposition: form-data; name={}\r\n\r\n\r\n--XX--", "a".repeat(MAX_HEAD));
        assert!(read(&long).unwrap_err().contains("head of a part"));
    }

    #[test]
    fn boundaries_are_told_by_the_media_type() {
        for (media_type, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"", Some("a b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=abc", None),
            ("application/json", None),
        ] {
            assert_eq!(boundary(media_type).as_deref(), expected, "{media_type}");
        }
        assert_eq!(boundary(&format!("multipart/form-data; boundary={}", "a".repeat(71))), None);
    }
}
