//! The store contract: one suite, both databases.
//!
//! Every function of the suite is run against a SQLite file and against PostgreSQL. For the latter
//! `SWITCHBOARD_TEST_POSTGRES` names a server on which databases may be made; without it those tests say that they were
//! skipped.

pub mod bed;
mod conversations;
mod erasing;
mod file;
mod ledger;
mod lists;
mod maintenance;
mod requests;
mod server;
mod threads;
mod turns;
mod words;

/// Makes a test of each function for each database.
macro_rules! suite {
    ($($function:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $function() {
                    super::$function(&crate::store::bed::Bed::sqlite().await).await;
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test]
                async fn $function() {
                    let Some(bed) = crate::store::bed::Bed::postgres().await else { return };
                    super::$function(&bed).await;
                    bed.finish().await;
                }
            )+
        }
    };
}

use suite;
