-- Hostile statements that change rows, one in each line, as in shapes.sql; {o} is another table of the same columns.
UPDATE {t} SET grp = 'z' WHERE CAST({c} AS INT) = 1
UPDATE {t} SET flag = true WHERE 100 / {n} > 7
UPDATE {t} SET flag = false WHERE CASE WHEN id % 3 = 1 THEN CAST({c} AS INT) = 1 ELSE id > 50 END
UPDATE {t} SET score = score + 1 WHERE {c} LIKE '%SECRET%'
UPDATE {t} SET score = score + 1 WHERE id IN (SELECT max(id) FROM {t} GROUP BY {c})
UPDATE {t} SET grp = {c} WHERE id < 20
UPDATE {t} SET score = (SELECT count(*) FROM {t}) WHERE id = 3
UPDATE {t} SET grp = 'hidden' WHERE id % 3 = 1
DELETE FROM {t} WHERE CAST({c} AS INT) / {n} = 7
DELETE FROM {t} WHERE id % 3 = 1
DELETE FROM {t} WHERE {c} LIKE '%SECRET%'
DELETE FROM {t} WHERE id NOT IN (SELECT id FROM {t} WHERE {c} IS NOT NULL) AND id > 55
DELETE FROM {t} WHERE id = 6 OR tags[1] = {text}
MERGE INTO {t} USING (VALUES (4, 'p'), (9, 'q')) AS s(i, g) ON {t}.id = s.i WHEN MATCHED THEN UPDATE SET grp = s.g
MERGE INTO {t} USING (VALUES (1, 'r'), (12, 's')) AS s(i, g) ON {t}.id = s.i AND CAST({c} AS INT) > 0 WHEN MATCHED THEN DELETE
INSERT INTO {o} SELECT * FROM {t}
INSERT INTO {o} (id, grp) SELECT id, {c} FROM {t} WHERE CAST({c} AS INT) > {seven}
INSERT INTO {o} (id, grp) SELECT 100 / {n}, {c} FROM {t} ORDER BY id LIMIT 3
