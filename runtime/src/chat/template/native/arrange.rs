//! Filters that compare elements: order, unique, groups.

use std::cmp::Ordering;

use super::ast::Binary;
use super::call::Args;
use super::eval::Eval;
use super::value::{Refusal, Value};
use crate::host;

impl Eval<'_> {
    pub(super) fn arrange(
        &mut self,
        name: &str,
        value: &Value,
        mut args: Args<'_>,
    ) -> Result<Value, Refusal> {
        match name {
            "sort" => {
                let reverse = args.flag(0, "reverse");
                let cased = args.flag(1, "case_sensitive");
                let attribute = args.given(2, "attribute");
                args.end(3)?;
                let keyed = self.keyed(value, cased, attribute.as_ref())?;
                Value::list(self.sorted(keyed, reverse)?)
            }
            "dictsort" => {
                let cased = args.flag(0, "case_sensitive");
                let by = args.given(1, "by");
                let reverse = args.flag(2, "reverse");
                args.end(3)?;
                let at = Value::Int(i128::from(by.as_ref().and_then(Value::as_str) == Some("value")));
                let items = self.filter("items", value.clone(), Args::default())?;
                let keyed = self.keyed(&items, cased, Some(&at))?;
                Value::list(self.sorted(keyed, reverse)?)
            }
            "unique" | "min" | "max" => {
                let cased = args.flag(0, "case_sensitive");
                let attribute = args.given(1, "attribute");
                args.end(2)?;
                let mut kept: Vec<(Value, Value)> = Vec::new();
                for (key, item) in self.keyed(value, cased, attribute.as_ref())? {
                    self.charge(key.weight().saturating_mul(kept.len()))?;
                    let wanted = match (name, kept.first()) {
                        ("unique", _) => !kept.iter().any(|(known, _)| known.equals(&key)),
                        (_, None) => true,
                        ("min", Some((best, _))) => key.order(best)?.is_lt(),
                        (_, Some((best, _))) => key.order(best)?.is_gt(),
                    };
                    if wanted {
                        if name != "unique" {
                            kept.clear();
                        }
                        kept.push((key, item));
                    }
                }
                if name != "unique" {
                    return Ok(kept.pop().map_or(Value::Undefined, |(_, item)| item));
                }
                Value::list(kept.into_iter().map(|(_, item)| item).collect())
            }
            "sum" => {
                let attribute = args.given(0, "attribute");
                let mut sum = args.get(1, "start").unwrap_or(Value::Int(0));
                args.end(2)?;
                for item in self.elements(value)? {
                    let item = self.key(&item, attribute.as_ref())?;
                    sum = self.binary(Binary::Add, &sum, &item)?;
                }
                Ok(sum)
            }
            "groupby" => {
                let attribute = args.need(0, "attribute")?;
                args.end(1)?;
                let keyed = self.keyed(value, true, Some(&attribute))?;
                let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
                for item in self.sorted(keyed, false)? {
                    let key = self.path(&item, &attribute)?;
                    self.charge(key.weight())?;
                    match groups.last_mut().filter(|(known, _)| known.equals(&key)) {
                        Some((_, group)) => group.push(item),
                        None => groups.push((key, vec![item])),
                    }
                }
                let group = |(key, group)| Value::tuple(vec![key, Value::list(group)?]);
                Value::list(groups.into_iter().map(group).collect::<Result<_, _>>()?)
            }
            _ => {
                let size = args.int(0, "linecount")?.and_then(|size| usize::try_from(size).ok());
                let size = size.filter(|size| *size > 0).ok_or("`batch` takes the size of a batch")?;
                let filling = args.given(1, "fill_with");
                args.end(2)?;
                let items = self.elements(value)?;
                let mut batches = Vec::new();
                for batch in items.chunks(size) {
                    let mut batch = batch.to_vec();
                    if let Some(filling) = &filling {
                        self.charge(size.saturating_mul(32))?;
                        batch.resize(size, filling.clone());
                    }
                    batches.push(Value::list(batch)?);
                }
                Value::list(batches)
            }
        }
    }

    /// Elements with what they are compared by.
    fn keyed(
        &mut self,
        value: &Value,
        cased: bool,
        attribute: Option<&Value>,
    ) -> Result<Vec<(Value, Value)>, Refusal> {
        let mut keyed = Vec::new();
        for item in self.elements(value)? {
            let key = match self.key(&item, attribute)? {
                Value::Text(text) if !cased => {
                    self.charge(text.len())?;
                    Value::text(host::lower(&text))
                }
                key => key,
            };
            keyed.push((key, item));
        }
        Ok(keyed)
    }

    /// Elements in the order of their keys; equal ones stay as they are.
    fn sorted(&mut self, keyed: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<Value>, Refusal> {
        let after = if reverse { Ordering::Less } else { Ordering::Greater };
        let mut sorted: Vec<(Value, Value)> = Vec::new();
        for (key, item) in keyed {
            // Where it goes: in front of what comes behind it.
            let (mut low, mut high) = (0, sorted.len());
            while let Some((other, _)) = sorted.get(usize::midpoint(low, high)).filter(|_| low < high) {
                self.charge(key.weight())?;
                let middle = usize::midpoint(low, high);
                if other.order(&key)? == after {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            self.charge((sorted.len() - low) * 32)?;
            sorted.insert(low, (key, item));
        }
        Ok(sorted.into_iter().map(|(_, item)| item).collect())
    }
}
