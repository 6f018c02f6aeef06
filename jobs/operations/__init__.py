"""Operations besides builds: quarantine, erasure, vacuum, doctor, sealed files."""
