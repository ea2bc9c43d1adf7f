//! The counters that slow down those who guess.

use async_trait::async_trait;
use kerria_core::{
    StoreError, Timestamp,
    store::Doors,
    throttle::{Admission, Door, DoorState, admit},
};

use super::{Ask, Driver, Result, Root, SqlStore, Step, rows};

#[async_trait]
impl<D: Driver> Doors for SqlStore<D> {
    async fn knock(&self, doors: Vec<Door>, now: Timestamp) -> Result<Admission, StoreError> {
        self.write_part(move |step| knock(step, &doors, now)).await
    }

    async fn take_back(&self, doors: Vec<Door>) -> Result<(), StoreError> {
        self.write_part(move |step| {
            hold(step, &doors)?;
            for door in &doors {
                let left = state(step, door)?.with_attempt_taken_back();
                step.change("UPDATE door SET failures = ?2 WHERE name = ?1", (&door.name, left.failures))?;
            }
            Ok(())
        })
        .await
    }

    async fn reset(&self, doors: Vec<Door>) -> Result<(), StoreError> {
        self.write_part(move |step| {
            hold(step, &doors)?;
            for door in &doors {
                step.change("DELETE FROM door WHERE name = ?1", [&door.name])?;
            }
            Ok(())
        })
        .await
    }

    async fn sweep_doors(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.write(move |step| sweep(step, now, limit)).await
    }
}

fn knock(step: &Step<'_>, doors: &[Door], now: Timestamp) -> Result<Admission> {
    hold(step, doors)?;
    let states = doors.iter().map(|door| state(step, door)).collect::<Result<Vec<_>>>()?;
    let admission = admit(doors.iter().map(|door| &door.rule).zip(states.iter().copied()), now);
    if admission == Admission::Admitted {
        for (door, state) in doors.iter().zip(states) {
            keep(step, door, state.at(&door.rule, now).with_attempt(now), now)?;
        }
    }
    Ok(admission)
}

fn hold(step: &Step<'_>, doors: &[Door]) -> Result<()> {
    step.hold(Root::Doors(&doors.iter().map(|door| door.name.as_str()).collect::<Vec<_>>()))
}

fn state(asked: &dyn Ask, door: &Door) -> Result<DoorState> {
    let state =
        asked.one("SELECT failures, last_attempt FROM door WHERE name = ?1", [&door.name], |row| {
            Ok(DoorState { failures: row.get(0)?, last_attempt: Some(rows::instant(row, 1)?) })
        })?;
    Ok(state.unwrap_or_default())
}

fn keep(step: &Step<'_>, door: &Door, state: DoorState, now: Timestamp) -> Result<()> {
    let forget_at = now + door.rule.forget_after;
    step.change(
        "INSERT INTO door (name, failures, last_attempt, forget_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (name) DO UPDATE SET failures = excluded.failures, last_attempt = excluded.last_attempt, \
         forget_at = excluded.forget_at",
        (&door.name, state.failures, now.as_millis(), forget_at.as_millis()),
    )?;
    Ok(())
}

fn sweep(step: &Step<'_>, now: Timestamp, limit: u32) -> Result<u64> {
    let doors = step.change(
        "DELETE FROM door WHERE name IN (SELECT name FROM door WHERE forget_at <= ?1 LIMIT ?2)",
        (now.as_millis(), limit),
    )?;
    let invitations = step.change(
        "DELETE FROM invitation WHERE token_hash IN ( \
             SELECT token_hash FROM invitation WHERE expires_at <= ?1 LIMIT ?2)",
        (now.as_millis(), u64::from(limit).saturating_sub(doors)),
    )?;
    Ok(doors + invitations)
}
