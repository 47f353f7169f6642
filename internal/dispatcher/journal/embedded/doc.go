// Package embedded is the journal's engine for one process: a Pebble store on a local
// disk. It keeps the contract of package journal with one shard, number 0.
//
// What is written where:
//
//   - Append and PutSubscription queue for one committer. It gathers what waits into one
//     batch and commits it with an fsync while the next gathers.
//   - Settle applies its batch to the same write-ahead log without an fsync of its own. The
//     next Append's makes it durable, or the syncer's, at the latest 10 ms later.
//   - Reads see events once they are durable, and settled batches at once.
//
// In the folder stand FORMAT, the format's version; LOCK, which keeps other processes out;
// BALLAST, room that is given back on a full disk; TAIL, how far the log is durable; SEALS,
// how far files of the store are; and store, which is Pebble's.
//
// Damage: what stands in tables has checksums, and a read that meets damage answers
// ErrCorrupt. But Pebble reads its MANIFEST, which names the tables, and its write-ahead logs
// up to the first fault, and takes that one for a write that a crash cut short: a flipped bit
// in the last edit of a MANIFEST would have it delete the tables that the edit named, and say
// nothing. From the files alone the two cannot be told apart: a power cut, too, may leave a
// record of full length with a part of it missing. So the engine watches what Pebble writes,
// and seals it: after every fsync of a MANIFEST, and at the end of a write-ahead log, it
// writes down how many bytes of the file are durable, with their checksum, and makes that
// durable before Pebble goes on to delete what the edit replaced. Open compares the files with
// their seals before Pebble sees them, and answers ErrCorrupt with the file's name, and all
// files as they were, where a sealed part is not what was written. What follows it may be
// anything a crash leaves. Write-ahead logs whose content is in tables are not looked at. The
// seal of the current write-ahead log stands in TAIL, which is written after every fsync but
// gets its own once a second alone: damage in what was written within a second before a power
// cut may go unseen. A folder without seals, as a version before them left it, opens unchecked.
//
// Backup and restore: Checkpoint copies the folder while the journal is open. A copy is
// restored by opening it, in the place of the original and never beside it: what tells the
// two apart is not the journal's to know.
//
// Upgrade and downgrade: FORMAT names what every version of Hookline that opens the folder
// must agree on: the meaning of the kinds of rows, and of the fields they had from the
// beginning. It changes only with these, and a folder of another format is refused untouched.
// Without a change of FORMAT a newer version may add kinds of rows, which an older one does
// not look at, and fields at the end of rows and records, which an older one skips. So one
// can go back by a version, and forth again: what the older one could not keep up, as the
// counts of dead letters, is made anew at the next Open. The format of Pebble's own files
// is pinned, since it cannot be taken back.
//
// What goes when:
//
//   - The log goes by Trim. Identities go a day at a time, after the second day.
//   - Of a subscription's versions at or below the cursor the newest alone is kept.
//   - A deleted subscription goes whole, with its attempts, statuses, dead letters and
//     skipped intervals, once its last marker is at or below the cursor and it has neither
//     backlog nor retries. Its settling outcomes write traces until then; a resend's or a
//     test event's outcome that arrives afterwards writes nothing.
//   - Dead letters go beyond Options.DeadLetters, looked at every second. How many went stays
//     as long as their subscription, and in a metric.
//   - Attempts are kept per subscription, the newest MaxAttempts and a few hundred before them, and shown for AttemptAge.
package embedded
