//! `serve webdav` as its clients meet it: curl, rclone, and requests that no client would send. Needs curl.
//! rclone is asked for as in `servers`: with SEABED_TEST_SERVERS.

use crate::cli::{Home, ended, lines};
use crate::mount::Running;
use seabed_tests::servers::rclone_is_wanted;
use seabed_tests::trees::{capture, full, noise};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// A server of the snapshots in a home.
struct Served {
    running: Running,
    url: String,
}

impl Served {
    fn new(home: &Home, args: &[&str]) -> Self {
        Served::with(home, &[&["serve", "webdav", "--json", "--listen", "127.0.0.1:0"], args].concat(), &[])
    }

    fn with(home: &Home, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = home.command(args);
        command.envs(variables.iter().copied());
        let running = Running::start(command);
        assert_eq!(running.ready["message_type"], "serving", "{}", running.ready);
        let url = running.ready["url"].as_str().unwrap().to_owned();
        Served { running, url }
    }

    /// Host and port.
    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap().trim_end_matches('/')
    }

    /// The address of something.
    fn at(&self, path: &str) -> String {
        format!("{}{}", self.url, path.trim_start_matches('/'))
    }

    fn curl(&self, args: &[&str]) -> Output {
        Command::new("curl").args(["-sS", "--path-as-is"]).args(args).output().expect("these tests need curl")
    }

    /// Status and body of a request.
    fn get(&self, args: &[&str]) -> (u32, Vec<u8>) {
        let output = self.curl(&[&["-w", "\n%{http_code}"], args].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let at = output.stdout.iter().rposition(|b| *b == b'\n').unwrap();
        (String::from_utf8_lossy(&output.stdout[at + 1..]).parse().unwrap(), output.stdout[..at].to_vec())
    }

    fn status(&self, args: &[&str]) -> u32 {
        self.get(args).0
    }

    fn text(&self, path: &str) -> String {
        let (status, body) = self.get(&[&self.at(path)]);
        assert_eq!(status, 200, "{path}");
        String::from_utf8(body).unwrap()
    }

    /// What comes back for raw bytes, up to the end of the connection.
    fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // A server that has seen enough may close before all is sent.
        stream.write_all(request).unwrap_or(());
        let mut answer = Vec::new();
        stream.take(1 << 20).read_to_end(&mut answer).map(|_| ()).unwrap_or(());
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Asks for its end; it must end well. What it said.
    fn end(self) -> Output {
        self.running.signal("-INT");
        let output = self.running.end();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

/// A path as part of an address.
fn encoded(path: &Path) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/-_.~".contains(b);
    path.as_os_str().as_bytes().iter().map(|b| if plain(b) { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn with_everything() -> (Home, PathBuf) {
    let home = Home::new();
    let src = home.path("tree");
    fs::create_dir(&src).unwrap();
    full(&src);
    symlink("twin", src.join("to file")).unwrap();
    symlink(src.join("deep"), src.join("to dir")).unwrap();
    symlink("../../../../../../../../etc/passwd", src.join("climbs")).unwrap();
    symlink("circle", src.join("circle")).unwrap();
    fs::write(src.join("<b onload=x>&'\"\u{1b}[2J.html"), "<script>alert(1)</script>").unwrap();
    home.ends(0, &["backup", "--init", "tree"]);
    (home, src)
}

#[test]
fn files_and_parts_of_them_come_as_they_are() {
    let (home, src) = with_everything();
    let served = Served::new(&home, &[]);
    let place = |name: &str| format!("/snapshots/latest{}", encoded(&src.join(name)));
    let big = fs::read(src.join("big")).unwrap();
    let (status, body) = served.get(&[&served.at(&place("big"))]);
    assert!(status == 200 && body == big);
    for (range, part) in
        [("0-0", 0..1), ("5000000-5004095", 5_000_000..5_004_096), ("9000000-", 9_000_000..9_000_001), ("-7", 8_999_994..9_000_001)]
    {
        let (status, body) = served.get(&["-r", range, &served.at(&place("big"))]);
        assert!(status == 206 && body == big[part], "{range}");
    }
    assert_eq!(served.status(&["-r", "9000001-", &served.at(&place("big"))]), 416);
    assert_eq!(served.get(&["-r", "0-1,5-6", &served.at(&place("twin"))]).1.len(), 2_000_000, "several parts are all of it");
    for name in ["empty", "sparse", "hole", "deep/hard", "to file", "to dir/er/still/one"] {
        let (status, body) = served.get(&[&served.at(&place(name))]);
        assert!(status == 200 && body == fs::read(src.join(name)).unwrap(), "{name}");
    }
    let odd = format!("{}/%FF%FE", place("odd \u{e9}\n"));
    assert_eq!(served.get(&[&served.at(&odd)]), (200, b"no text".to_vec()));
    // A restart of a copy that broke off is a range with the tag of the beginning.
    let head = served.curl(&["-I", &served.at(&place("big"))]);
    let head = String::from_utf8(head.stdout).unwrap().to_ascii_lowercase();
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {head}")).trim();
    assert_eq!((value("content-length:"), value("accept-ranges:"), value("x-content-type-options:")), ("9000001", "bytes", "nosniff"));
    let tag = value("etag:").to_owned();
    assert_eq!(served.status(&["-H", &format!("If-None-Match: {tag}"), &served.at(&place("big"))]), 304);
    assert_eq!(served.status(&["-r", "1-2", "-H", &format!("If-Range: {tag}"), &served.at(&place("big"))]), 206);
    assert_eq!(served.status(&["-r", "1-2", "-H", "If-Range: \"other\"", &served.at(&place("big"))]), 200);
    for gone in ["climbs", "circle", "dangling", "nothing", "big/below"] {
        assert_eq!(served.status(&[&served.at(&place(gone))]), 404, "{gone}");
    }
    for special in ["fifo", "socket", "device"] {
        assert_eq!(served.status(&[&served.at(&place(special))]), 403, "{special}");
    }
    let summary = lines(&String::from_utf8_lossy(&served.end().stdout)).pop().unwrap();
    assert_eq!(summary["message_type"], "summary");
}

#[test]
fn directories_are_pages_on_which_no_name_does_anything() {
    let (home, src) = with_everything();
    let served = Served::new(&home, &["latest"]);
    let place = encoded(&src);
    let (status, _) = served.get(&[&served.at(&place)]);
    assert_eq!(status, 301, "without the slash, links on the page would lead astray");
    let page = served.text(&format!("{place}/"));
    assert!(page.contains("&lt;b onload=x&gt;&amp;&#39;&quot;\u{fffd}[2J.html"), "{page}");
    assert!(!page.contains("<b onload") && !page.contains('\u{1b}') && !page.contains("<script"), "{page}");
    // Every name is there, and what its link leads to is what it says.
    let count = page.matches("<tr>").count();
    assert_eq!(count, fs::read_dir(&src).unwrap().count() + 1);
    assert!(page.contains("href=\"./deep/\"") && page.contains("href=\"./hard%20too\"") && page.contains("href=\"../\""));
    let name = "<b onload=x>&'\"\u{1b}[2J.html";
    let head = served.curl(&["-D", "-", "-o", "/dev/null", &served.at(&format!("{place}/{}", encoded(Path::new(name))))]);
    let head = String::from_utf8(head.stdout).unwrap().to_ascii_lowercase();
    assert!(head.contains("content-type: text/plain") && head.contains("content-security-policy: sandbox"), "{head}");
    let head = served.curl(&["-D", "-", "-o", "/dev/null", &served.at(&format!("{place}/"))]);
    assert!(String::from_utf8(head.stdout).unwrap().contains("default-src 'none'"));
    served.end();
}

#[test]
fn programs_ask_for_properties() {
    let (home, src) = with_everything();
    let served = Served::new(&home, &[]);
    let place = format!("/snapshots/latest{}", encoded(&src));
    let propfind = |depth: &str, body: &str, path: &str| {
        let depth = format!("Depth: {depth}");
        let (status, body) = served.get(&["-X", "PROPFIND", "-H", &depth, "--data-binary", body, &served.at(path)]);
        (status, String::from_utf8(body).unwrap())
    };
    let (status, all) = propfind("1", "", &format!("{place}/"));
    assert_eq!(status, 207);
    // What it cannot show it leaves out: special files, links to nowhere and to directories.
    let hidden = ["fifo", "socket", "device", "dangling", "up", "to dir", "climbs", "circle"];
    assert_eq!(all.matches("<D:response>").count(), 1 + fs::read_dir(&src).unwrap().count() - hidden.len());
    assert!(all.contains(&format!("<D:href>{place}/big</D:href>")) && all.contains("<D:getcontentlength>9000001</D:getcontentlength>"));
    assert!(all.contains(&format!("<D:href>{place}/many/</D:href>")) && all.contains("<D:resourcetype><D:collection/></D:resourcetype>"));
    assert!(all.contains(&format!("<D:href>{place}/to%20file</D:href>")) && all.contains("&lt;b onload=x&gt;&amp;"));
    assert_eq!(propfind("0", "", &format!("{place}/big")).1.matches("<D:response>").count(), 1);
    let (_, latest) = propfind("1", "", "/snapshots/");
    assert!(latest.contains("<D:href>/snapshots/latest/</D:href>"), "{latest}");
    let asked = "<propfind xmlns='DAV:' xmlns:o='u:o'><prop><getlastmodified/><o:x/><y xmlns=''/></prop></propfind>";
    let (_, some) = propfind("0", asked, &format!("{place}/many"));
    assert!(
        some.contains("GMT</D:getlastmodified>") && some.contains("<x:x xmlns:x=\"u:o\"/>") && some.contains("<y xmlns=\"\"/>"),
        "{some}"
    );
    assert!(some.contains("200 OK") && some.contains("404 Not Found") && !some.contains("displayname"), "{some}");
    let (_, names) = propfind("0", "<propfind xmlns='DAV:'><propname/></propfind>", &format!("{place}/big"));
    assert!(names.contains("<D:getetag/>") && !names.contains("9000001"), "{names}");
    assert_eq!(propfind("infinity", "", "/").0, 403);
    assert_eq!(served.status(&["-X", "PROPFIND", &served.at("/")]), 403, "without a depth it is infinite");
    assert_eq!(propfind("0", "<!DOCTYPE x [<!ENTITY a 'b'>]><x/>", "/").0, 400);
    assert_eq!(propfind("0", &"<a>".repeat(10_000), "/").0, 400);
    assert_eq!(propfind("0", &" ".repeat(70_000), "/").0, 413);
    assert_eq!(propfind("0", "", &format!("{place}/nothing")).0, 404);
    assert_eq!(propfind("0", "", &format!("{place}/fifo")).0, 403);
    let options = served.curl(&["-X", "OPTIONS", "-D", "-", &served.at("/")]);
    let options = String::from_utf8(options.stdout).unwrap().to_ascii_lowercase();
    assert!(options.contains("dav: 1") && options.contains("allow: options, get, head, propfind"), "{options}");
    for method in ["PUT", "DELETE", "MKCOL", "COPY", "MOVE", "PROPPATCH", "LOCK", "UNLOCK", "POST", "PATCH", "TRACE", "BREW"] {
        assert_eq!(served.status(&["-X", method, &served.at(&format!("{place}/big"))]), 405, "{method}");
    }
    assert_eq!(served.status(&["-T", src.join("twin").to_str().unwrap(), &served.at("/new")]), 405);
    served.end();
}

#[test]
fn rclone_copies_what_was_stored() {
    if !rclone_is_wanted() {
        return;
    }
    let (home, src) = with_everything();
    let served = Served::new(&home, &[&format!("latest:{}", src.display())]);
    let program = Path::new(&std::env::var_os("SEABED_TEST_SERVERS").unwrap()).join("bin/rclone");
    let rclone = |args: &[&str]| {
        let mut command = Command::new(&program);
        command.env_clear().env("HOME", home.path(".")).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["--config", home.path("rclone.conf").to_str().unwrap()]).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let remote = format!(":webdav,url='{}':", served.url);
    let out = home.path("out");
    rclone(&["copy", "--create-empty-src-dirs", &remote, out.to_str().unwrap()]);
    // Names that are no text, or drive a terminal, rclone changes on its way: it does not find them again itself.
    rclone(&["check", "--download", "--exclude", "<b*", "--exclude", "odd*/**", &remote, out.to_str().unwrap()]);
    let (want, have) = (capture(&src, false), capture(&out, false));
    for (path, node) in &want {
        let name = path.escape_ascii().to_string();
        let plain = std::str::from_utf8(path).is_ok_and(|text| !text.contains(char::is_control));
        if !plain {
            assert!(!node.is_file() || have.values().any(|found| found.content == node.content), "{name} was not copied");
            continue;
        }
        match have.get(path) {
            Some(found) if node.is_file() => {
                assert!(found.content == node.content, "{name}");
                // The protocol knows whole seconds since 1970.
                assert!(node.mtime.0 < 0 || found.mtime.0 == node.mtime.0, "{name}");
            }
            Some(found) => assert!(if node.is_dir() { found.is_dir() } else { node.kind() == 0o120_000 && found.is_file() }, "{name}"),
            None => assert!(!node.is_file() && !node.is_dir(), "{name} was not copied"),
        }
    }
    assert!(have[&b"to file"[..]].content == want[&b"twin"[..]].content);
    assert!(rclone(&["lsf", &format!("{remote}many")]).lines().count() == 300);
    served.end();
}

#[test]
fn a_server_answers_only_to_who_means_it() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    let served = Served::new(&home, &[]);
    let port = served.address().rsplit(':').next().unwrap().to_owned();
    // What a page of another site's gets, when its name is made to lead here.
    for host in ["evil.example", &format!("evil.example:{port}"), "127.0.0.1:1", ""] {
        assert_eq!(served.status(&["-H", &format!("Host: {host}"), &served.at("/ids/")]), 403, "{host}");
    }
    assert!(served.raw(b"GET /ids/ HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 403"));
    assert_eq!(served.status(&["-H", &format!("Host: localhost:{port}"), &served.at("/ids/")]), 200);
    // A page of any site's had the browser fetch from here what it named: a picture, a frame. Only a link that somebody follows leads here.
    let fetched = |site: &str, mode: &str, dest: &str| {
        let headers = [("Site", site), ("Mode", mode), ("Dest", dest)].map(|(name, value)| format!("Sec-Fetch-{name}: {value}"));
        served.status(&["-H", &headers[0], "-H", &headers[1], "-H", &headers[2], &served.at("/ids/")])
    };
    for site in ["cross-site", "same-site"] {
        assert_eq!((fetched(site, "no-cors", "image"), fetched(site, "navigate", "iframe")), (403, 403), "{site}");
        assert_eq!(fetched(site, "navigate", "document"), 200, "{site}");
    }
    assert_eq!((fetched("same-origin", "no-cors", "image"), fetched("none", "navigate", "document")), (200, 200));
    // And where the browser does not say for whom it asks, it is told with every answer for whom that is.
    let file = served.at(&format!("/snapshots/latest{}", encoded(&home.path("src/a.txt"))));
    let (dir, nothing) = (served.at("/ids/"), served.at("/nothing"));
    let (file, dir, nothing) = (file.as_str(), dir.as_str(), nothing.as_str());
    for args in [&[file][..], &[dir], &[nothing], &["-X", "PUT", dir], &["-X", "OPTIONS", dir], &["-H", "Host: x", dir]] {
        let output = served.curl(&[&["-D", "-", "-o", "/dev/null"], args].concat());
        let head = String::from_utf8(output.stdout).unwrap().to_ascii_lowercase();
        assert!(head.contains("cross-origin-resource-policy: same-origin"), "{args:?}: {head}");
    }
    served.end();

    home.write("pass", "se:cret\n");
    let args = ["serve", "webdav", "--json", "--listen", "0.0.0.0:0", "--user", "ann", "--webdav-password-file", "pass"];
    let served = Served::with(&home, &args, &[]);
    let url = served.url.replace("0.0.0.0", "127.0.0.1");
    let ids = format!("{url}ids/");
    assert_eq!(served.status(&[&ids]), 401);
    assert_eq!(served.status(&["-u", "ann:se:cre", &ids]), 401);
    assert_eq!(served.status(&["-u", "bob:se:cret", &ids]), 401);
    assert_eq!(served.status(&["-X", "PROPFIND", "-H", "Depth: 0", &ids]), 401);
    assert_eq!(served.status(&["-u", "ann:se:cret", &ids]), 200);
    let warned = String::from_utf8(served.end().stderr).unwrap();
    assert!(warned.contains("TLS") && !warned.contains("se:cret"), "{warned}");
    let args = ["serve", "webdav", "--json", "--listen", "localhost:0", "--user", "ann"];
    let served = Served::with(&home, &args, &[("SEABED_WEBDAV_PASSWORD", "x")]);
    assert_eq!(served.status(&["-u", "ann:x", &served.at("/")]), 200);
    served.end();
    for args in [
        &["--listen", "0.0.0.0:0"][..],
        &["--listen", "nonsense"],
        &["--listen", "127.0.0.1"],
        &["--user", "ann"],
        &["--user", "a:b"],
        &["--user", "ann", "--webdav-password-file", "nowhere"],
        &["--webdav-password-file", "pass"],
        &["--user", "ann", "--no-auth"],
    ] {
        let output = home.run(&[&["serve", "webdav"], args].concat());
        ended(20, &output, args);
    }
    let served = Served::with(&home, &["serve", "webdav", "--json", "--listen", "0.0.0.0:0", "--no-auth"], &[]);
    assert_eq!(served.status(&[&served.url.replace("0.0.0.0", "127.0.0.1")]), 200);
    served.end();
}

#[test]
fn requests_that_no_client_would_send_change_nothing() {
    let home = Home::new();
    home.ends(0, &["backup", "--init", "src"]);
    let served = Served::new(&home, &["latest"]);
    let host = served.address().to_owned();
    let ask = |line: &str| served.raw(format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes());
    for path in ["/..", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/src/%00", "/%zz", "/a%2F..%2Fb", "/.", "/%"] {
        let answer = ask(&format!("GET {path}"));
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    assert!(ask("GET //").starts_with("HTTP/1.1 200"));
    assert!(ask(&format!("GET http://{host}/")).starts_with("HTTP/1.1 200"));
    assert!(ask("GET http://evil.example/").starts_with("HTTP/1.1 403"));
    assert!(ask("OPTIONS *").starts_with("HTTP/1.1 200"));
    assert!(ask(&format!("GET /{}", "a/".repeat(9000))).starts_with("HTTP/1.1 400"));
    assert!(ask(&format!("GET /{}", "a".repeat(300))).starts_with("HTTP/1.1 400"));
    for nonsense in [&b"\0\xff\r\n\r\n"[..], b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting\r\n\r\n"] {
        let answer = served.raw(nonsense);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let long = served.raw(format!("GET / HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)).as_bytes());
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 431"), "{long:.200}");
    let many: String = (0..5000).map(|n| format!("X{n}: y\r\n")).collect();
    let many = served.raw(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{many}\r\n").as_bytes());
    assert!(many.is_empty() || many.starts_with("HTTP/1.1 4"), "{many:.200}");
    // A body that never comes, one that lies about its length, two lengths at once.
    let head = format!("PUT /x HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999999999\r\n\r\nabc");
    assert!(served.raw(head.as_bytes()).starts_with("HTTP/1.1 405"));
    let two = format!("PROPFIND / HTTP/1.1\r\nHost: {host}\r\nDepth: 0\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef");
    assert!(served.raw(two.as_bytes()).starts_with("HTTP/1.1 400"));
    // Idle connections, more than there is room for: as soon as some of them go, whoever waits is served.
    let mut idle: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(&host).unwrap()).collect();
    idle.truncate(10);
    let url = served.at(&encoded(&home.path("src/a.txt")));
    assert_eq!(served.get(&[&url]), (200, b"alpha\n".to_vec()));
    drop(idle);
    let said = served.end().stderr;
    assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// What is sent is right or breaks off: a client must not take the beginning of a file for the whole.
#[test]
fn a_file_that_is_damaged_breaks_off() {
    let home = Home::new();
    let content = noise(1, 30_000_000);
    fs::create_dir(home.path("tree")).unwrap();
    fs::write(home.path("tree/long"), &content).unwrap();
    fs::write(home.path("tree/other"), "other").unwrap();
    home.ends(0, &["backup", "--init", "tree", "--pack-size", "4"]);
    let served = Served::new(&home, &["latest"]);
    let url = served.at(&encoded(&home.path("tree/long")));
    assert!(served.get(&[&url]) == (200, content.clone()));
    served.end();
    // The largest packs hold the long file; one of them is cut in half.
    let data = home.repository().join("data");
    let folders = fs::read_dir(data).unwrap().map(|dir| dir.unwrap().path());
    let mut packs: Vec<PathBuf> = folders.flat_map(|dir| fs::read_dir(dir).unwrap().map(|pack| pack.unwrap().path())).collect();
    packs.sort_by_key(|pack| fs::metadata(pack).unwrap().len());
    let pack = packs.pop().unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, bytes).unwrap();
    let served = Served::new(&home, &["latest"]);
    let url = served.at(&encoded(&home.path("tree/long")));
    let output = served.curl(&[&url]);
    assert!(!output.status.success(), "curl takes it for whole");
    assert!(output.stdout.len() < content.len() && content.starts_with(&output.stdout));
    assert_eq!(served.get(&[&served.at(&encoded(&home.path("tree/other")))]), (200, b"other".to_vec()));
    let said = String::from_utf8(served.end().stderr).unwrap();
    assert!(said.contains("tree/long") && said.contains("damaged"), "{said}");
}
