//! What it costs to seal one changed word again, by the size of the code;
//! `scripts/bench` prints it. Takes sizes in megabytes. Only the page that holds
//! the word is digested, so the cost must not grow with the code.

use std::hint::black_box;
use std::time::{Duration, Instant};

use agxpatch_core::address::{FileOffset, SliceOffset};
use agxpatch_core::codesign::build::{self, Spec};
use agxpatch_core::codesign::reseal;
use agxpatch_core::edit::{Edit, EditKind};

fn main() {
    for megabytes in std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok()) {
        let mut slice = vec![0x1f; megabytes << 20];
        let end = slice.len();
        let signature = build::build(&Spec::platform_binary("a.b", 15, 4000), &slice);
        slice.extend(signature);
        let range = SliceOffset(end as u64)..SliceOffset(slice.len() as u64);
        let change = [Edit {
            at: FileOffset(end as u64 / 2),
            old: slice[end / 2..end / 2 + 4].to_vec(),
            new: vec![0; 4],
            kind: EditKind::Instruction,
            why: "one word".into(),
        }];
        let took = (0..20)
            .map(|_| {
                let start = Instant::now();
                let sealed = reseal(&slice, FileOffset(0), range.clone(), &change);
                black_box(sealed.expect("the signature is sound"));
                start.elapsed()
            })
            .min()
            .unwrap_or(Duration::MAX);
        println!("{megabytes} {:.9}", took.as_secs_f64());
    }
}
