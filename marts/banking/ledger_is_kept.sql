-- One row, if there are entries of any account.
SELECT TRUE AS is_kept FROM entry_accounts LIMIT 1;
