//! What was put into the frame and is loaded from there again.
//!
//! A helper saves registers in its frame, the return address among them. What a
//! load from there gives is what was stored at the same place. Stores elsewhere and
//! calls in between do not touch it, unless an address in the frame was handed out.

use crate::arm64::semantics::{Binary, Event, Node, Term, Terms};

/// What `value` is, if it is eight bytes of the frame that were stored since the
/// start.
pub(super) fn stored(terms: &Terms, frame: Term, value: Term) -> Option<Term> {
    const BYTES: i64 = 8;
    let Node::Memory(mut history, address, 8) = terms.node(value) else { return None };
    let wanted = offset(terms, frame, address)?;
    while let Some((before, event)) = terms.last_event(history) {
        history = before;
        match event {
            Event::Store { address, bytes, value } => match offset(terms, frame, *address) {
                Some(place) if place == wanted && *bytes == 8 => return Some(*value),
                Some(place) => {
                    let apart = place + i64::from(*bytes) <= wanted || wanted + BYTES <= place;
                    if !apart {
                        return None;
                    }
                }
                // The address of a place in the frame leaves it.
                None if offset(terms, frame, *value).is_some() => return None,
                None => {}
            },
            Event::Call { arguments, .. } => {
                if arguments.iter().any(|&argument| offset(terms, frame, argument).is_some()) {
                    return None;
                }
            }
            Event::Barrier => {}
        }
    }
    None
}

/// How far an address is from the frame's, if it is in the frame.
fn offset(terms: &Terms, frame: Term, address: Term) -> Option<i64> {
    if address == frame {
        return Some(0);
    }
    match terms.node(address) {
        Node::Binary(Binary::Add, base, distance) if base == frame => {
            terms.as_constant(distance).map(|distance| distance as i64)
        }
        _ => None,
    }
}
