"""Words that are no names in the SQL of the engine and of the databases."""

DUCKDB = frozenset(
    """
    all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create
    default deferrable desc describe distinct do else end except false fetch for foreign from group having in
    initially intersect into lambda lateral leading limit not null offset on only or order pivot pivot_longer
    pivot_wider placing primary qualify references returning select show some summarize symmetric table then to
    trailing true union unique unpivot using variadic when where window with
    """.split()
)
"""Words reserved in DuckDB, by duckdb_keywords()."""
DATABASES = DUCKDB | frozenset(
    """
    accessible add alter asensitive before between bigint binary blob by call cascade change char character
    condition continue convert cross cube cume_dist current_date current_role current_time current_timestamp
    current_user cursor database databases day_hour day_microsecond day_minute day_second dec decimal declare
    delayed delete delete_domain_id dense_rank deterministic distinctrow div do_domain_ids double drop dual each
    elseif empty enclosed escaped exists exit explain external first_value float float4 float8 force fulltext
    function generated get grant grouping groups high_priority hour_microsecond hour_minute hour_second if
    ignore ignore_domain_ids index infile inner inout insensitive insert int int1 int2 int3 int4 int8 integer
    interval io_after_gtids io_before_gtids is iterate join json_table key keys kill lag last_value lead leave
    left library like linear lines load localtime localtimestamp lock long longblob longtext loop low_priority
    master_demote_to_replica master_demote_to_slave master_ssl_verify_server_cert match maxvalue mediumblob
    mediumint mediumtext middleint minute_microsecond minute_second mod modifies natural no_write_to_binlog
    nth_value ntile numeric of optimize optimizer_costs option optionally out outer outfile over page_checksum
    parse_vcol_expr partition percent_rank portion precision procedure purge range rank read read_write reads
    real recursive ref_system_id regexp release rename repeat replace require resignal restrict return revoke
    right rlike row row_number rows schema schemas second_microsecond sensitive separator set signal smallint
    spatial specific sql sql_big_result sql_buffer_result sql_cache sql_calc_found_rows sql_no_cache
    sql_small_result sqlexception sqlstate sqlwarning ssl starting stats_auto_recalc stats_persistent
    stats_sample_pages stored straight_join system tablesample terminated tinyblob tinyint tinytext trigger undo
    unlock unsigned update usage use utc_date utc_time utc_timestamp values varbinary varchar varcharacter
    varying virtual while write xor year_month zerofill
    """.split()
)
"""Those and the words that MySQL 9.7 or MariaDB 10.11 refuse as the name of a column."""
ENGINE = frozenset(("generation", "run_id", "as_of_date"))
"""Columns that the engine adds to marts."""
OF_FACTS = frozenset(
    """
    additional_columns bucket day_key delivery id_key more_key position sales_time t_bought t_id t_line t_shard
    """.split()
)
"""Columns that the engine adds to clean rows of facts."""
OP = "op"
"""Column of a drop of a dimension whose rows are changes."""
OF_DIMENSIONS = frozenset(("deleted", "t_place"))
"""Columns that the engine adds to clean rows of dimensions."""
OF_VERSIONS = OF_DIMENSIONS | frozenset(
    """
    covers_from covers_to end_reason is_current is_inferred last_seen reports valid_from valid_to version_key
    """.split()
)
"""Those of dimensions with versions."""
VARIABLES = frozenset(("as_of", "last_day", "month", "previous_as_of"))
"""Variables that the engine sets."""
TABLES = "marts_"
"""What the names of the engine's tables in a database begin with."""
BEFORE = "_before"
"""End of the name under which SQL reads the months before of a table."""
BESIDE_FACTS = ("_crossing", "_left_out", "_rows")
"""Ends of the names of the tables that the engine has beside that of a fact."""
