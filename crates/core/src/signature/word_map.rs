//! An open-addressing map keyed by instruction word, laid out for lookups that
//! mostly find nothing.

/// Words with something behind each. Open addressing, at most half full, laid
/// out once.
#[derive(Clone, Debug)]
pub(super) struct WordMap<T> {
    entries: Vec<(u32, T)>,
    /// For each place, the number of the entry after one; 0 for none.
    places: Vec<u32>,
}

/// A number of `bits` bits, 1 to 32, for a word. The golden ratio spreads
/// neighbouring words, and only a product's high bits depend on all of them.
pub(super) fn spread(word: u32, bits: u32) -> usize {
    (word.wrapping_mul(0x9e37_79b9) >> (32 - bits)) as usize
}

impl<T> WordMap<T> {
    /// The words must differ.
    pub fn new(entries: Vec<(u32, T)>) -> WordMap<T> {
        let size = (entries.len() * 2).next_power_of_two().max(2);
        let mut map = WordMap { entries: Vec::new(), places: vec![0; size] };
        for (number, (word, _)) in entries.iter().enumerate() {
            let mut place = map.first_place(*word);
            while map.places[place] != 0 {
                place = (place + 1) % size;
            }
            map.places[place] = number as u32 + 1;
        }
        map.entries = entries;
        map
    }

    fn first_place(&self, word: u32) -> usize {
        spread(word, self.places.len().trailing_zeros())
    }

    /// What stands behind `word`.
    pub fn get(&self, word: u32) -> Option<&T> {
        let mut place = self.first_place(word);
        loop {
            let entry = self.places[place].checked_sub(1)?;
            let (this, value) = &self.entries[entry as usize];
            if *this == word {
                return Some(value);
            }
            place = (place + 1) % self.places.len();
        }
    }

    /// The words.
    pub fn words(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|(word, _)| *word)
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_found_and_no_other() {
        let words: Vec<u32> = (0..1000).map(|n| n * 32 + 0x5400_0008).collect();
        let map = WordMap::new(words.iter().map(|word| (*word, !word)).collect());
        assert!(words.iter().all(|word| map.get(*word) == Some(&!word)));
        assert!(words.iter().all(|word| map.get(word + 1).is_none()));
        assert!(WordMap::<()>::new(Vec::new()).get(0).is_none());
    }
}
