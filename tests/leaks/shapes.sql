-- Hostile statements, one in each line: each would fail, or answer otherwise, if it were asked of hidden
-- rows or values. {t} is the table, {c} the text and {n} the number that are attacked; {seven} and {text}
-- are values that may be bound as parameters. Rows that are cut are put in order first.

-- Conditions
SELECT id FROM {t} WHERE CAST({c} AS INT) = {seven}
SELECT id FROM {t} WHERE CASE WHEN id = 4 THEN CAST({c} AS INT) = 1 ELSE true END
SELECT id FROM {t} WHERE CASE WHEN {n} = 0 THEN CAST({c} AS INT) ELSE 7 END = {seven}
SELECT id FROM {t} WHERE id = 4 AND CAST({c} AS INT) = 7 OR id = 5
SELECT id FROM {t} WHERE 100 / {n} > {seven}
SELECT id FROM {t} WHERE 100 % {n} = 1 OR {c} IS NULL
SELECT * FROM {t} WHERE {c} = {text}
SELECT * FROM {t} WHERE id > {seven} AND {c} <> {text}
SELECT id, {c} FROM {t} WHERE {c} LIKE '%SECRET%'
SELECT id, {c} FROM {t} WHERE {c} LIKE '%SECRET%' OR CAST({c} AS INT) = 7
SELECT id FROM {t} WHERE {c} ~ '^[b-z]{{4}}zSEC'
SELECT id FROM {t} WHERE regexp_like({c}, {text}) OR 1 / {n} = 1
SELECT id FROM {t} WHERE {c} ILIKE '%secret%' AND 1 / ({n} - {n} + 1) = 1
SELECT id FROM {t} WHERE length({c}) > {seven} AND CAST({c} AS BIGINT) > 0
SELECT id FROM {t} WHERE {c} IN ('1', '2', {text}) AND {n} BETWEEN 0 AND 6000000000000000000
SELECT id FROM {t} WHERE {c} IS NOT DISTINCT FROM {text} OR {n} = 0
SELECT count(*) AS n FROM {t} WHERE {c} IS NULL OR {n} IS NULL
SELECT count(*) AS n, count({c}) AS c FROM {t} WHERE id % 3 = 1
SELECT id FROM {t} WHERE TRY_CAST({c} AS INT) IS NULL
SELECT id FROM {t} WHERE to_timestamp(coalesce({c}, '2026-01-01')) > to_timestamp(0)
SELECT id FROM {t} WHERE arrow_cast({c}, 'Int8') = 7
SELECT id FROM {t} WHERE NOT (strpos({c}, 'SECRET') = 0)
SELECT id FROM {t} WHERE {c} = 7
SELECT id FROM {t} WHERE CAST({c} AS DATE) = DATE '2026-01-01'
SELECT id FROM {t} WHERE id = 4 AND decode({c}, 'hex') IS NOT NULL

-- Lists of columns
SELECT * FROM {t}
SELECT id, {c}, {n} FROM {t}
SELECT id, CAST({c} AS INT) AS x FROM {t}
SELECT id, TRY_CAST({c} AS BIGINT) AS x, 1 / {n} AS y FROM {t}
SELECT id, substr({c}, 1, 3) AS x, left({c}, 5) AS y, upper({c}) AS z FROM {t}
SELECT id, reverse({c}) AS x, {c} || {text} AS y, coalesce({c}, {text}) AS z FROM {t}
SELECT id, nullif({c}, {text}) AS x, CASE WHEN {n} > 2 THEN {c} END AS y FROM {t}
SELECT id, encode(digest({c}, 'sha256'), 'hex') AS x, md5({c}) AS y FROM {t}
SELECT id, regexp_replace({c}, 'SECRET', {text}) AS x, ascii({c}) AS y FROM {t}
SELECT make_array({c}, {text}) AS x, struct({c}, {n}) AS y FROM {t}
SELECT id, place FROM {t}
SELECT id, place['zip'] AS x, place['deep']['note'] AS y FROM {t}
SELECT id, place['deep']['level'] / 0 AS x FROM {t} WHERE place['zip'] = {text}
SELECT id, get_field(place, 'zip') AS x FROM {t} WHERE CAST(place['zip'] AS INT) > 1
SELECT id, unnest(tags) AS x FROM {t}
SELECT id, array_to_string(tags, {text}) AS x, tags[1] AS y FROM {t}
SELECT id FROM {t} WHERE array_has(tags, {text}) OR CAST(tags[1] AS INT) = 7
SELECT unnest(make_array(CAST({c} AS INT), 1 / {n})) AS x FROM {t}
SELECT unnest(place) FROM {t}
SELECT email, code FROM {t}
SELECT id, nosuch FROM {t}
SELECT id, nosuch({c}) AS x FROM {t}
SELECT id, {c} + {n} AS x FROM {t}
SELECT id, split_part({c}, 'z', 2) AS x, translate({c}, 'SECRT', '12345') AS y FROM {t}
SELECT id, date_bin(INTERVAL '1 day', to_timestamp(coalesce({c}, '2026-01-01'))) AS x FROM {t}

-- Groups
SELECT {c}, count(*) AS n FROM {t} GROUP BY {c}
SELECT {c}, count(*) AS n FROM {t} GROUP BY {c} HAVING CAST({c} AS INT) = {seven}
SELECT CAST({c} AS INT) AS x, count(*) AS n FROM {t} GROUP BY 1
SELECT sum(CAST({c} AS INT)) FILTER (WHERE 1 / {n} = 1) AS x FROM {t}
SELECT count(*) FILTER (WHERE CAST({c} AS INT) > {seven}) AS x, max({n}) AS y FROM {t}
SELECT min({c}) AS a, max({c}) AS b, min({n}) AS d, max({n}) AS e FROM {t}
SELECT grp, min({c}) AS a, max(CAST({c} AS INT)) AS b FROM {t} GROUP BY grp
SELECT array_agg({c} ORDER BY id) AS x, string_agg({c}, ',' ORDER BY id) AS y FROM {t}
SELECT grp, {c}, GROUPING(grp) AS g, count(*) AS n FROM {t} GROUP BY ROLLUP (grp, {c})
SELECT grp, flag, sum(1 / {n}) AS n FROM {t} GROUP BY GROUPING SETS ((grp), (flag), ())
SELECT count(DISTINCT {c}) AS x, approx_distinct({n}) AS y, median({n}) AS z FROM {t}
SELECT DISTINCT CAST({c} AS INT) AS x FROM {t}
SELECT DISTINCT ON (grp) grp, id, {c} FROM {t} ORDER BY grp, id
SELECT first_value({c} ORDER BY id DESC) AS x, bit_xor({n}) AS y FROM {t}
SELECT max(1 / {n}) AS x FROM {t} WHERE flag
SELECT grp, count(*) AS n FROM {t} GROUP BY grp HAVING bool_or({c} LIKE '%SECRET%')

-- Order and windows
SELECT id FROM {t} ORDER BY CAST({c} AS INT), id
SELECT id FROM {t} ORDER BY CAST({c} AS INT), id LIMIT 3
SELECT id, {c} FROM {t} ORDER BY {c}, id LIMIT 4
SELECT id, 1 / {n} AS q FROM {t} ORDER BY q DESC, id LIMIT 3 OFFSET 1
SELECT id, row_number() OVER (PARTITION BY CAST({c} AS INT) ORDER BY 1 / {n}, id) AS r FROM {t}
SELECT id, lag({c}) OVER (ORDER BY id) AS a, lead({n}, 2) OVER (ORDER BY id) AS b FROM {t}
SELECT id, sum(1 / {n}) OVER (PARTITION BY grp ORDER BY id ROWS 2 PRECEDING) AS s FROM {t}
SELECT id, rank() OVER (ORDER BY {c}, id) AS r, nth_value({c}, 2) OVER (ORDER BY id) AS v FROM {t}
SELECT id, ntile(4) OVER (ORDER BY {n}, id) AS r FROM {t} WHERE CAST({c} AS INT) > 0
SELECT id FROM {t} WHERE CASE WHEN {c} LIKE '7%' THEN CAST({c} AS INT) > 0 ELSE id > 2 END ORDER BY id LIMIT 1

-- Joins
SELECT a.id, b.x FROM {t} AS a JOIN (VALUES (7), (1)) AS b(x) ON CAST(a.{c} AS INT) = b.x
SELECT count(*) AS n FROM {t} AS a JOIN {t} AS b ON CAST(a.{c} AS INT) / a.{n} = 7 AND a.id = b.id
SELECT a.id, b.id AS other FROM {t} AS a JOIN {t} AS b ON a.{c} = b.{c} WHERE a.id < b.id
SELECT a.id, b.{c} FROM {t} AS a LEFT JOIN {t} AS b ON a.id = b.id - 1
SELECT a.id FROM {t} AS a LEFT ANTI JOIN {t} AS b ON a.id = b.id + 3 AND 1 / b.{n} > 0
SELECT a.id FROM {t} AS a LEFT SEMI JOIN {t} AS b ON CAST(a.{c} AS INT) = b.id
SELECT x, a.id, a.{c} FROM (VALUES (1), (4), (7)) AS v(x) LEFT JOIN {t} AS a ON a.id = v.x
SELECT count(*) AS n FROM {t} AS a CROSS JOIN {t} AS b WHERE a.id * 1000 / b.{n} > 5000
SELECT a.{c}, b.{n} FROM {t} AS a FULL JOIN {t} AS b USING (id) WHERE a.id < 5 OR a.id IS NULL
SELECT v.x, l.id FROM (VALUES (1), (4)) AS v(x), LATERAL (SELECT id FROM {t} WHERE id = v.x AND CAST({c} AS INT) > 0) AS l
SELECT a.id FROM {t} AS a JOIN (SELECT max(CAST({c} AS INT)) AS m FROM {t}) AS b ON a.id < b.m

-- Subqueries and sets
SELECT a.id FROM {t} AS a WHERE EXISTS (SELECT 1 FROM {t} AS b WHERE CAST(b.{c} AS INT) = a.{n} AND a.id = b.id)
SELECT id FROM {t} WHERE id IN (SELECT CAST({c} AS INT) FROM {t})
SELECT id FROM {t} WHERE id NOT IN (SELECT id FROM {t} WHERE 1 / {n} > 0)
SELECT (SELECT max(1 / {n}) FROM {t}) AS x, (SELECT min({c}) FROM {t}) AS y
SELECT id, (SELECT max(b.{c}) FROM {t} AS b WHERE b.grp = a.grp) AS m FROM {t} AS a
WITH c AS (SELECT id, CAST({c} AS INT) AS n FROM {t}) SELECT id FROM c WHERE n = {seven}
SELECT x FROM (SELECT id AS x, CAST({c} AS INT) AS y FROM {t}) AS d WHERE y > 0
WITH RECURSIVE r(id, w, n) AS (SELECT id, {c}, 0 FROM {t} WHERE id < 2 UNION ALL SELECT t.id, t.{c}, r.n + 1 FROM r JOIN {t} AS t ON t.id = r.id + 1 WHERE r.n < 4) SELECT * FROM r
SELECT id FROM {t} WHERE CAST({c} AS INT) = 7 UNION ALL SELECT 1 / {n} FROM {t}
SELECT {c} FROM {t} UNION SELECT {text}
SELECT id FROM {t} EXCEPT SELECT id FROM {t} WHERE {c} LIKE '%SECRET%'
SELECT {c} FROM {t} INTERSECT SELECT {c} FROM {t} WHERE CAST({n} AS INT) > 0
SELECT count(*) AS n FROM (SELECT {c} FROM {t} LIMIT 1000) AS d WHERE CAST({c} AS INT) > 0
SELECT CASE WHEN EXISTS (SELECT 1 FROM {t} WHERE {c} LIKE '%SECRET%') THEN 1 / 0 ELSE 1 END AS x
