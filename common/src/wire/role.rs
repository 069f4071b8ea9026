//! Roles: what a node may ask of others, as its certificate says.

use std::fmt;

/// What a node is in the cluster. The numbers are persistent: certificates and tokens hold the names, records the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// Holds the namespace.
    Metadata = 0,
    /// Holds shards.
    Chunkserver = 1,
    /// Reads and writes files and objects: a gateway, a mount, the benchmark.
    Client = 2,
    /// Asks and directs on behalf of a person.
    Operator = 3,
    /// Holds nothing but a join token.
    Joiner = 4,
}

/// A set of roles.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Roles(u8);

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [
        Self::Metadata,
        Self::Chunkserver,
        Self::Client,
        Self::Operator,
        Self::Joiner,
    ];

    /// The name in certificates, settings and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Chunkserver => "chunkserver",
            Self::Client => "client",
            Self::Operator => "operator",
            Self::Joiner => "joiner",
        }
    }

    /// The role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl Roles {
    /// No role.
    pub const NONE: Self = Self(0);
    /// What a certificate may hold: all but [`Role::Joiner`], which is the lack of one.
    pub const MEMBER: Self = Self::of(&[Role::Metadata, Role::Chunkserver, Role::Client, Role::Operator]);

    /// The set of these.
    pub const fn of(roles: &[Role]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < roles.len() {
            bits |= 1 << roles[index] as u8;
            index += 1;
        }
        Self(bits)
    }

    /// Whether `role` is among them.
    pub const fn has(self, role: Role) -> bool {
        self.0 & (1 << role as u8) != 0
    }

    /// Whether any of `others` is among them.
    pub const fn has_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// Whether all of them are among `others`.
    pub const fn within(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles, in order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | 1 << role as u8))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, role) in self.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{role}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roles({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_roles() {
        for role in Role::ALL {
            assert_eq!(Role::from_name(role.name()), Some(role));
        }
        assert_eq!(Role::from_name("root"), None);
    }

    #[test]
    fn sets_hold_what_they_were_made_of() {
        let roles = Roles::of(&[Role::Client, Role::Metadata]);
        assert!(roles.has(Role::Client) && !roles.has(Role::Chunkserver));
        assert_eq!(roles.iter().collect::<Roles>(), roles);
        assert_eq!(roles.to_string(), "metadata,client");
        assert!(roles.within(Roles::MEMBER) && !Roles::of(&[Role::Joiner]).within(Roles::MEMBER));
        assert!(Roles::NONE.is_empty() && !roles.has_any(Roles::NONE));
    }
}
