"""Chapter 4, second half: sampling methods, what they make diverse and what they make worse."""
