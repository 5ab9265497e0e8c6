//! Reports that no machine wrote.

use std::fs;
use std::os::unix::fs::symlink;

use agxpatch::crash::{self, Class};
use agxpatch::diagnostics::{Limits, collect};
use agxpatch_simulate::crash_report::CrashReport;
use proptest::prelude::*;

fn reason(name: &str, bytes: &[u8]) -> String {
    let read = crash::read(name, bytes);
    assert_eq!(read.class, Class::Unreadable, "{read:?}");
    read.evidence.because
}

#[test]
fn unreadable_reports_are_named() {
    assert_eq!(reason("a.ips", b""), "the file is empty");
    assert_eq!(reason("a.ips", b" \n\t "), "the file is empty");
    assert_eq!(reason("a.ips", b"\xff\xfe\0\0"), "neither JSON nor a crash report in text");
    assert_eq!(reason("a.ips", b"Process: Python [4]\n"), "a text report without an exception");
    assert_eq!(reason("a.ips", b"{\"bug_type\":\"309\"}\n"), "a header without a body");
    assert_eq!(reason("a.ips", b"{}\n{\"threads\":[]}"), "no exception in the body");
    assert!(reason("a.ips", b"{\"bug_type\":").starts_with("EOF"));
}

#[test]
fn a_report_that_breaks_off_still_says_whose_it_is() {
    let report = CrashReport::set_pipeline(1);
    let bytes = report.ips();
    let crashed = bytes.windows(11).position(|text| text == b"\"triggered\"").unwrap();
    let mut judged = 0;
    for end in (0..bytes.len() - 2).step_by(41) {
        let read = crash::read("a.ips", &bytes[..end]);
        if read.class == Class::Unreadable {
            continue;
        }
        // The frames of the thread that died were whole: as in a text that ends there.
        assert!(end > crashed && read.incomplete.is_some(), "cut at {end}");
        assert_eq!(read.class, Class::NullAtSetPipeline, "cut at {end}");
        judged += 1;
    }
    assert!(judged > 0);
    let read = crash::read("a.ips", &bytes[..bytes.len() / 2]);
    assert_eq!(read.process.as_deref(), Some("Python"));
    assert_eq!(read.incident, report.incident().to_lowercase());
}

#[test]
fn nesting_without_end_is_refused_and_skipped_alike() {
    let deep = |field: &str| {
        let depth = 1_000_000;
        format!(
            "{{\"exception\":{{\"type\":\"EXC_CRASH\"}},\"{field}\":{}{}}}",
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    // Where the value is wanted the reader's bound ends it; where it is not, it
    // is skipped without recursion.
    assert!(reason("a.ips", deep("asi").as_bytes()).contains("recursion limit"));
    assert_eq!(crash::read("a.ips", deep("extMods").as_bytes()).class, Class::Unrelated);
}

#[test]
fn a_text_report_that_breaks_off_before_its_frames_is_unreadable_and_incomplete_after_them() {
    let text = CrashReport::set_pipeline(1).text();
    let find = |part: &[u8]| text.windows(part.len()).position(|each| each == part).unwrap();
    let (frames, images) = (find(b"FamilyComputeContext"), find(b"Binary Images:"));
    for end in (0..=frames).step_by(37) {
        assert_eq!(crash::read("a.crash", &text[..end]).class, Class::Unreadable, "cut at {end}");
    }
    let read = crash::read("a.crash", &text[..images]);
    assert_eq!((read.class, read.incomplete.is_some()), (Class::NullAtSetPipeline, true));
    let without = [&text[..images], b"Binary images description not available\n"].concat();
    let read = crash::read("a.crash", &without);
    assert_eq!(read.evidence.address.as_deref(), Some("0x5c8"));
    assert_eq!(read.incomplete, None);
}

#[test]
fn skipped_members_must_still_be_valid_json() {
    let good = String::from_utf8(CrashReport::set_pipeline(1).padded_to(60_000).ips()).unwrap();
    let symbol = good.rfind("_PyEval_EvalFrameDefault").unwrap();
    let image = good.rfind("libpadding").unwrap();
    for place in [symbol, image] {
        for wrong in ["\"", "\u{1}", "\\q", "\",]"] {
            let mut text = good.clone();
            text.replace_range(place..place + wrong.len(), wrong);
            let read = crash::read("a.ips", text.as_bytes());
            // Never judged as if it were whole.
            let breaks_off = read.incomplete.is_some_and(|it| it.contains("the JSON breaks off"));
            assert!(breaks_off || read.class == Class::Unreadable, "{wrong:?}");
            assert_eq!(read.process.as_deref(), Some("Python"));
        }
        let mut bytes = good.clone().into_bytes();
        // A byte that is not text makes no other byte doubtful.
        bytes[place] = 0xff;
        let read = crash::read("a.ips", &bytes);
        assert_eq!(read.class, Class::NullAtSetPipeline);
        assert_eq!(read.notes, ["bytes that are not text were replaced"]);
    }
}

#[test]
fn a_thread_or_image_of_another_shape_only_counts_if_it_is_needed() {
    let good = String::from_utf8(CrashReport::set_pipeline(1).ips()).unwrap();
    let odd = good.replacen("\"threads\":[{", "\"threads\":[5,{\"frames\":7,", 1);
    // The odd one has pushed the thread that died from its place.
    let moved = odd.replace("\"faultingThread\":1", "\"faultingThread\":2");
    assert_ne!(moved, good);
    assert_eq!(crash::read("a.ips", moved.as_bytes()).class, Class::NullAtSetPipeline);
    let needed = odd.replace("\"faultingThread\":1", "\"faultingThread\":0");
    let read = crash::read("a.ips", needed.as_bytes());
    assert_eq!(read.class, Class::Unreadable);
    assert!(read.evidence.because.starts_with("the thread that died: invalid type"));
    let images = good.replacen("\"usedImages\":[", "\"usedImages\":[null,", 1);
    assert_ne!(crash::read("a.ips", images.as_bytes()).class, Class::Unreadable);
}

#[test]
fn a_million_keys_and_a_compressed_report_are_dealt_with() {
    let keys: String = (0..1_000_000).map(|key| format!("\"k{key}\":0,")).collect();
    let body = format!("{{{keys}\"exception\":{{\"type\":\"EXC_CRASH\"}}}}");
    assert_eq!(crash::read("a.ips", body.as_bytes()).class, Class::Unrelated);
    assert!(reason("a.ips", b"\x1f\x8b\x08\0\0\0\0\0").contains("gunzip"));
    // A power cut leaves zeros behind what was written.
    let nul = [&CrashReport::trap(1).ips()[..], &[0; 4096]].concat();
    assert_eq!(crash::read("a.ips", &nul).class, Class::Trap);
}

#[test]
fn texts_are_bounded_and_carry_no_control_characters() {
    let name = "x".repeat(1 << 20);
    let acting = ["\u{1b}[31m", "\u{9b}2J", "\r", "\u{7}", "\u{202e}", "\u{2066}"];
    let report = CrashReport::set_pipeline(1).process(&format!("{}{name}", acting.concat()), 1, 1);
    let read = crash::read("a.ips", &report.ips());
    let process = read.process.unwrap();
    assert!(process.len() <= 512);
    for acting in acting {
        assert!(!process.contains(acting), "{process:?}");
    }
    assert_eq!(read.class, Class::NullAtSetPipeline);
}

#[test]
fn a_million_empty_threads_and_frames_are_bounded() {
    let threads = "{},".repeat(1_000_000);
    let frames = "{\"symbol\":\"f\"},".repeat(200_000);
    let body = format!(
        "{{\"exception\":{{\"type\":\"EXC_CRASH\"}},\"faultingThread\":0,\
         \"threads\":[{{\"frames\":[{frames}{{}}]}},{threads}{{}}]}}"
    );
    assert_eq!(crash::read("a.ips", body.as_bytes()).class, Class::Unrelated);
}

#[test]
fn fields_of_another_type_do_not_make_a_report_unreadable() {
    let text = String::from_utf8(CrashReport::set_pipeline(1).ips()).unwrap();
    let text = text
        .replace("\"bug_type\":\"309\"", "\"bug_type\":309")
        .replace("\"pid\":4001", "\"pid\":\"4001\"")
        .replace("\"0x5c8 is not in any region.\"", "{\"a\":[1]}")
        .replace("\"name\":\"Python\"", "\"name\":null");
    let read = crash::read("a.ips", text.as_bytes());
    assert_eq!((read.class, read.pid), (Class::NullAtSetPipeline, Some(4001)));
}

#[test]
fn irregular_files_are_named_and_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe.ips"), kind, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket.ips")).unwrap();
    symlink(folder.path(), at("loop")).unwrap();
    symlink("/dev/zero", at("endless.ips")).unwrap();
    symlink("self.ips", at("self.ips")).unwrap();
    fs::create_dir(at("folder.ips")).unwrap();
    fs::File::create(at("sparse.ips")).unwrap().set_len(1 << 40).unwrap();
    fs::write(at("good.ips"), CrashReport::trap(1).ips()).unwrap();

    let found = collect(&[folder.path().to_owned()], &Limits::default()).unwrap();
    assert_eq!(found.incidents.len(), 1);
    let named: Vec<(String, String)> = found
        .unreadable
        .iter()
        .map(|skipped| {
            let name = skipped.path.file_name().unwrap().to_string_lossy().into_owned();
            (name, skipped.reason.clone())
        })
        .collect();
    let named: Vec<(&str, &str)> = named.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        named,
        [
            ("endless.ips", "a link"),
            ("pipe.ips", "not a plain file"),
            ("self.ips", "a link"),
            ("socket.ips", "not a plain file"),
            ("sparse.ips", "1099511627776 bytes, more than the 67108864 allowed"),
        ]
    );
}

#[test]
fn folders_nested_without_end_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().to_owned();
    for _ in 0..30 {
        path.push("d");
    }
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("a.ips"), CrashReport::trap(1).ips()).unwrap();
    let found = collect(&[folder.path().to_owned()], &Limits::default()).unwrap();
    assert_eq!(found.incidents.len(), 0);
    assert_eq!(found.unreadable[0].reason, "nested too deep");
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let error = collect(&["/nonexistent/reports".into()], &Limits::default()).unwrap_err();
    assert_eq!(error.code().as_str(), "AGX-0901");
}

#[test]
fn what_begins_like_a_report_on_every_line_is_not_read_again_and_again() {
    // Each took minutes for 16 MB when the rest of the text was looked at for each line.
    for line in ["{\"name\":[\"\n", "{\"pid\":1,\"process\":\"a\"\n", "{\"name\":1}", "<br>{"] {
        let text = format!("Exception Type:\n{}", line.repeat((1 << 18) / line.len()));
        assert!(reason("a.ips", text.as_bytes()).len() > 10);
    }
}

proptest! {
    #[test]
    fn no_bytes_whatever_stop_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        crash::read("a.ips", &bytes);
    }

    #[test]
    fn no_damage_to_a_report_stops_the_reader(
        places in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        text in any::<bool>(),
    ) {
        let report = CrashReport::freed_encoder(1, 0x9ba3_6e2f_2650);
        let mut bytes = if text { report.text() } else { report.ips() };
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let read = crash::read("a.ips", &bytes);
        prop_assert!(!read.evidence.because.is_empty());
    }
}
