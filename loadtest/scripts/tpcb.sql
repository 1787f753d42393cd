\set account random(1, 100000)
\set amount random(-5000, 5000)
BEGIN;
UPDATE accounts SET balance = balance + :amount WHERE id = :account;
SELECT balance FROM accounts WHERE id = :account;
UPDATE branches SET balance = balance + :amount WHERE id = 1;
INSERT INTO history (account, amount, at) VALUES (:account, :amount, now());
END;
