//! The window before and after, line by line.

use crate::address::VmAddr;
use crate::arm64::Instruction;
use crate::proof::steps::{Event, Room, Steps};

use super::Version;
use super::markup::escape;

pub(super) fn section(before: &Version<'_>, after: &Version<'_>) -> String {
    let pairs = || before.listing.iter().zip(after.listing);
    let changed = pairs().filter(|(old, new)| old.word != new.word).count();
    let rows: String = pairs()
        .map(|(old, new)| {
            let class = if old.word == new.word { "" } else { " class=\"changed\"" };
            let gap = if old.word == new.word { "" } else { "→" };
            format!(
                "<tr{class}><td class=\"mono soft\">{}</td>{}<td class=\"gap\">{gap}</td>{}</tr>",
                old.address,
                cells(old, before.steps),
                cells(new, after.steps)
            )
        })
        .collect();
    format!(
        "<section><h2>The window</h2><p class=\"soft\">{changed} of {} words change; tags name the \
         steps other threads can see.</p><div class=\"scroll\"><table class=\"listing\">\
         <tr><th>address</th><th colspan=\"3\">{}</th><th></th><th colspan=\"3\">{}</th></tr>{rows}\
         </table></div></section>",
        before.listing.len(),
        escape(before.name),
        escape(after.name)
    )
}

fn cells(line: &Instruction, steps: &Steps) -> String {
    let tag = event_at(steps, line.address)
        .map(|event| format!("<span class=\"tag {0}\">{0}</span>", event.name()))
        .unwrap_or_default();
    format!(
        "<td class=\"mono soft\">{}</td><td class=\"mono\">{}</td><td>{tag}</td>",
        line.word,
        escape(&line.text)
    )
}

fn event_at(steps: &Steps, at: VmAddr) -> Option<Event> {
    Room::BOTH
        .iter()
        .flat_map(|&room| &steps.path(room).steps)
        .find(|step| step.at == at)
        .map(|step| step.event)
}
