//! Money is exact: decimals in events and tests, minor units in totals, rounded once, half to even.
