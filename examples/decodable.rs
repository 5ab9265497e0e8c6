//! How many functions of the arm64 slices of Mach-O files the proof can read to
//! their end, to know before a Mac tells:
//!
//!     cargo run --example decodable -- FILE...
//!
//! Counted apart are functions of 200 to 500 words, which is the size of the one
//! that is patched.

use agxpatch_core::Result;
use agxpatch_core::address::VmAddr;
use agxpatch_core::arm64::semantics::decode;
use agxpatch_core::macho::{Image, Universal};

fn main() -> Result<()> {
    for path in std::env::args().skip(1) {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(file) = Universal::parse(&bytes) else { continue };
        for slice in &file.slices {
            let image = slice.image()?;
            if image.architecture().to_string().starts_with("arm64") {
                println!("{path}: {}", count(&image)?);
            }
        }
    }
    Ok(())
}

fn count(image: &Image<'_>) -> Result<String> {
    let starts = image.function_starts()?;
    let text = image.text()?;
    let end = VmAddr(text.address.0 + text.bytes.len() as u64);
    let (mut all, mut read, mut alike, mut alike_read) = (0, 0, 0, 0);
    let ends = starts.iter().skip(1).copied().chain([end]);
    for (start, end) in starts.iter().copied().zip(ends) {
        let Ok(words) = image.words(start..end) else { continue };
        let known: Vec<bool> = words
            .enumerate()
            .map(|(at, word)| decode(word, start.instruction(at)).is_some())
            .collect();
        let whole = known.iter().all(|&known| known);
        all += 1;
        read += usize::from(whole);
        if (200..500).contains(&known.len()) {
            alike += 1;
            alike_read += usize::from(whole);
        }
    }
    Ok(format!("{read} of {all} functions, {alike_read} of {alike} of 200 to 500 words"))
}
