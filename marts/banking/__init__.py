"""The banking pack: transactions with their risk, customers and accounts with history, the ledger, the month."""
