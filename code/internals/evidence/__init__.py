"""Evidence: claims, their wording, the ledger that lists them and the linter that demands them."""
