\set account random(1, 100000)
SELECT balance FROM accounts WHERE id = :account;
