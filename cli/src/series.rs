//! Lists and ranges of whole numbers as llama-bench writes them: `1,2,4`, `0-64+16` (steps), `128-1024*2` (multiples).
//!
//! Not here: what the numbers mean.

/// Some whole numbers in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series(pub Vec<usize>);

/// The most numbers in a series: each is a test, and nobody waits for more.
const MAX_LEN: usize = 1000;

const SYNTAX: &str = "expected whole numbers such as 1,2,4 or a range such as 0-64+16 or 128-1024*2";
const TOO_LONG: &str = "expected at most 1000 numbers";
const STANDS_STILL: &str = "expected a range whose steps go up";

impl Series {
    /// Reads numbers and ranges, separated by commas. A range is `first-last`, in steps of 1, `first-last+step` or `first-last*factor`; a
    /// number beyond `last` ends it.
    pub fn parse(text: &str) -> Result<Series, &'static str> {
        let mut numbers = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                None => numbers.push(number(part)?),
                Some((first, rest)) => range(number(first)?, rest, &mut numbers)?,
            }
            if numbers.len() > MAX_LEN {
                return Err(TOO_LONG);
            }
        }
        Ok(Series(numbers))
    }

    /// All numbers of several series, in order.
    pub fn concat(series: &[Series]) -> Vec<usize> {
        series.iter().flat_map(|series| series.0.iter().copied()).collect()
    }
}

/// Digits and nothing else: `parse` would take a sign.
fn number(text: &str) -> Result<usize, &'static str> {
    match text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse().map_err(|_| SYNTAX),
        false => Err(SYNTAX),
    }
}

/// Adds the numbers of a range. `rest`: what follows its first number and the hyphen.
fn range(first: usize, rest: &str, numbers: &mut Vec<usize>) -> Result<(), &'static str> {
    type Next = fn(usize, usize) -> usize;
    let (last, step, next): (_, _, Next) = match (rest.split_once('+'), rest.split_once('*')) {
        (Some((last, step)), None) => (last, number(step)?, usize::saturating_add),
        (None, Some((last, factor))) => (last, number(factor)?, usize::saturating_mul),
        (None, None) => (rest, 1, usize::saturating_add),
        (Some(_), Some(_)) => return Err(SYNTAX),
    };
    let last = number(last)?;
    if last < first {
        return Err(STANDS_STILL);
    }
    let mut n = first;
    while n <= last {
        if numbers.len() > MAX_LEN {
            return Err(TOO_LONG);
        }
        numbers.push(n);
        let following = next(n, step);
        if following <= n {
            // A range of one number needs no step, and the largest number has none after it.
            return if n == last { Ok(()) } else { Err(STANDS_STILL) };
        }
        n = following;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<usize>, &'static str> {
        Series::parse(text).map(|series| series.0)
    }

    #[test]
    fn numbers_lists_and_ranges() {
        for (text, expected) in [
            ("512", &[512][..]),
            ("0", &[0]),
            ("1,2,1", &[1, 2, 1]),
            ("2-5", &[2, 3, 4, 5]),
            ("0-64+16", &[0, 16, 32, 48, 64]),
            ("0-60+16", &[0, 16, 32, 48]),
            ("128-1024*2", &[128, 256, 512, 1024]),
            ("100-1000*3", &[100, 300, 900]),
            ("7-7", &[7]),
            ("0-0*2", &[0]),
            ("1,4-6,10-20+10", &[1, 4, 5, 6, 10, 20]),
            ("18446744073709551615-18446744073709551615+5", &[usize::MAX]),
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
        assert_eq!(Series::concat(&[Series(vec![1]), Series(vec![3, 2])]), [1, 3, 2]);
    }

    #[test]
    fn what_is_no_series_is_refused() {
        for text in
            ["", ",", "1,", "a", "-1", "+1", "1-", "-", "1-2-3", "1-2+", "1-2*", "1-8+2*2", "1.5", " 1", "99999999999999999999"]
        {
            assert_eq!(parse(text), Err(SYNTAX), "{text:?}");
        }
        for text in ["5-4", "1-5+0", "1-5*1", "0-5*2", "1-5*0"] {
            assert_eq!(parse(text), Err(STANDS_STILL), "{text:?}");
        }
        for text in ["0-18446744073709551615", "1-2000", "1,".repeat(1001).trim_end_matches(',')] {
            assert_eq!(parse(text), Err(TOO_LONG), "{text:?}");
        }
        assert_eq!(parse("1-1000").unwrap().len(), 1000);
    }
}
