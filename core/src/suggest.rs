/// Longest text that is compared, in characters.
const MAX_COMPARED: usize = 256;

/// The candidate that a misspelt `name` most likely means, if any is near.
///
/// Near is a Damerau-Levenshtein distance of at most a third of the longer text's length.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let len = name.chars().take(MAX_COMPARED + 1).count();
    let near = |candidate: &&str| {
        let other = candidate.chars().take(MAX_COMPARED + 1).count();
        let longer = len.max(other);
        // The distance is at least the difference of the lengths.
        if longer > MAX_COMPARED || len.abs_diff(other) * 3 > longer {
            return None;
        }
        let distance = strsim::damerau_levenshtein(name, candidate);
        (distance * 3 <= longer).then_some(distance)
    };
    candidates.into_iter().filter_map(|c| Some((near(&c)?, c))).min().map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_the_likely_word_and_nothing_far() {
        let words = ["retry", "run", "timeout"];
        assert_eq!(nearest("retyr", words), Some("retry"));
        assert_eq!(nearest("zzz", words), None);
        let long = "x".repeat(1 << 22);
        assert_eq!(nearest(&long, [long.as_str(), "x"]), None);
    }
}
