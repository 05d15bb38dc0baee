//! `{% generation %}` ... `{% endgeneration %}`: transformers' tag around what a model generates. In rendering it is transparent.
//!
//! Not here: the ranges that it marks, which only training needs.

/// The template with these tags replaced by `{% with %}` and `{% endwith %}`, which have the same scope: what is set within stays
/// within. Comments and raw blocks stay as they are.
pub(super) fn replaced(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut is_raw = false;
    while let Some(at) = rest.find("{%").into_iter().chain(rest.find("{#").filter(|_| !is_raw)).min() {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("{#") {
            let end = rest.find("#}").map_or(rest.len(), |end| end + 2);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let (open, inner) = rest.split_at(2);
        let body = inner.trim_start_matches(['-', '+']);
        let dash = &inner[..inner.len() - body.len()];
        let trimmed = body.trim_start();
        let name_len = trimmed.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(trimmed.len());
        let (name, after) = trimmed.split_at(name_len);
        let ends = after.trim_start().trim_start_matches(['-', '+']).starts_with("%}");
        out.push_str(open);
        rest = match (is_raw, name, ends) {
            (false, "generation", true) => {
                out.push_str(dash);
                out.push_str(" with ");
                after
            }
            (false, "endgeneration", true) => {
                out.push_str(dash);
                out.push_str(" endwith ");
                after
            }
            (_, "raw", true) | (true, "endraw", true) => {
                is_raw = name == "raw";
                inner
            }
            _ => inner,
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn only_the_tag_is_replaced() {
        assert_eq!(replaced("a{%- generation -%}b{% endgeneration %}c"), "a{%- with  -%}b{% endwith  %}c");
        for same in [
            "{% set generation = 1 %}{{ generation }}",
            "{# {% generation %} #}",
            "{% raw %}{% generation %}{% endraw %}",
            "{% if",
            "{#",
            "{%generation",
        ] {
            assert_eq!(replaced(same), same);
        }
    }
}
